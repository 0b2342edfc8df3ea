"""The meta-optimizer: an Optax chain from its section of the config."""

from collections.abc import Callable, Mapping
from typing import Any

import optax

from configs.base import MetaOptimizer, Schedule
from launch import construct, errors
from meta_train import groups
from meta_train.schedules import DECAYS, warmed_up

_WHERE = "meta_optimizer"


def make_meta_optimizer(section: MetaOptimizer, meta_steps: int) -> optax.GradientTransformation:
    """Clip the meta-gradient, then apply the named optimizer with its learning-rate schedule.

    Args:
        section: ``config.meta_optimizer``.
        meta_steps: length of the run, in which the schedule ends.

    Raises:
        UserError: an unknown name, argument or schedule, or a value out of range.
    """
    schedule = _schedule(section.learning_rate, section.schedule, meta_steps)
    if section.name == "chain":
        steps = [*_transforms(section.fields), optax.scale_by_learning_rate(schedule)]
    else:
        fields = {**section.fields, "learning_rate": schedule}
        factory = _factory(section.name, _WHERE)
        steps = [construct.construct(factory, fields, _WHERE, section.name)]
    if section.clip_value is not None:
        steps.insert(0, optax.clip(section.clip_value))
    if section.clip_norm is not None:
        steps.insert(0, optax.clip_by_global_norm(section.clip_norm))
    if section.group_factors:
        steps.append(groups.scale_groups(section.group_factors))
    if section.average_rate is not None:
        steps.append(groups.average_theta(section.average_rate))
    return optax.chain(*steps)


def _schedule(peak: float, section: Schedule, meta_steps: int) -> optax.Schedule:
    if section.name not in DECAYS:
        raise errors.unknown(f"config.{_WHERE}.schedule.name", section.name, DECAYS)
    with errors.mistakes(f"config.{_WHERE}.schedule."):
        fractions = section.warmup_fraction, section.final_fraction
        return warmed_up(section.name, peak, meta_steps, *fractions)


def _transforms(fields: Mapping[str, Any]) -> list[optax.GradientTransformation]:
    """The members of a "chain"; the learning rate follows them."""
    unexpected = [field for field in fields if field != "transforms"]
    if unexpected or not fields.get("transforms"):
        raise errors.UserError(
            f"config.{_WHERE}: chain takes the field transforms, a tuple of dicts such as "
            f"{{'name': 'scale_by_adam', 'b1': 0.9}}; got {', '.join(fields) or 'none'}"
        )
    made = []
    for index, member in enumerate(fields["transforms"]):
        where = f"{_WHERE}.transforms[{index}]"
        if not isinstance(member, Mapping) or not isinstance(member.get("name"), str):
            raise errors.UserError(f"config.{where} = {member!r} must be a dict with a name")
        arguments = {key: value for key, value in member.items() if key != "name"}
        factory = _factory(member["name"], where)
        if "learning_rate" in construct.parameters(factory):
            raise errors.UserError(
                f"config.{where}: {member['name']} applies a learning rate itself; a chain ends "
                f"with config.{_WHERE}.learning_rate, so use a scale_by_... transformation"
            )
        made.append(construct.construct(factory, arguments, where, member["name"]))
    return made


def _factory(name: str, where: str) -> Callable[..., Any]:
    """Function ``name`` of optax or of optax.contrib."""
    for module in (optax, getattr(optax, "contrib", None)):
        factory = getattr(module, name, None) if name.isidentifier() else None
        if callable(factory) and not isinstance(factory, type):
            return factory
    known = [key for key in dir(optax) if callable(getattr(optax, key)) and key.islower()]
    raise errors.unknown(f"config.{where}.name", name, ["chain", *known])
