"""The meta-optimizer: an Optax chain from its section of the config."""

from collections.abc import Callable, Mapping
from typing import Any

import optax

from launch import construct, errors
from meta_train import groups

_WHERE = "meta_optimizer"


def make_meta_optimizer(
    section: Mapping[str, Any], meta_steps: int
) -> optax.GradientTransformation:
    """Clip the meta-gradient, then apply the named optimizer with its learning-rate schedule.

    Args:
        section: ``config.meta_optimizer`` as a plain dict, see configs/base.py.
        meta_steps: length of the run, in which the schedule ends.

    Raises:
        UserError: an unknown name, argument or schedule, or a value out of range.
    """
    fields = dict(section)
    name = fields.pop("name")
    schedule = make_schedule(fields.pop("learning_rate"), fields.pop("schedule"), meta_steps)
    before = _clips(fields.pop("clip_norm"), fields.pop("clip_value"))
    behind = _behind(fields.pop("group_factors", None), fields.pop("average_rate", None))
    if name == "chain":
        steps = [*_transforms(fields), optax.scale_by_learning_rate(schedule)]
    else:
        fields["learning_rate"] = schedule
        steps = [construct.construct(_factory(name, _WHERE), fields, _WHERE, name)]
    return optax.chain(*before, *steps, *behind)


def make_schedule(
    learning_rate: float, section: Mapping[str, Any], meta_steps: int
) -> Callable[[Any], Any]:
    """Learning rate over meta-steps: a linear rise, then constant or down to a fraction of it.

    Always a function, so that the meta-optimizer's state has the same arrays for every length of
    the run, and a checkpoint fits after it was changed.

    Args:
        learning_rate: the peak.
        section: ``config.meta_optimizer.schedule`` as a plain dict.
        meta_steps: the meta-step at which the final value is reached.
    """
    name, rise, fraction = (section[k] for k in ("name", "warmup_fraction", "final_fraction"))
    if not 0 <= rise < 1:
        raise errors.UserError(
            f"config.{_WHERE}.schedule.warmup_fraction = {rise} must be at least 0 and below 1"
        )
    if not 0 <= fraction <= 1:
        raise errors.UserError(
            f"config.{_WHERE}.schedule.final_fraction = {fraction} must be between 0 and 1"
        )
    warmup = int(rise * meta_steps)
    decays = {
        "constant": lambda steps: optax.constant_schedule(learning_rate),
        "cosine": lambda steps: optax.cosine_decay_schedule(learning_rate, steps, fraction),
        "linear": lambda steps: optax.linear_schedule(
            learning_rate, learning_rate * fraction, steps
        ),
        "exponential": lambda steps: optax.exponential_decay(learning_rate, steps, fraction),
    }
    if name not in decays:
        raise errors.unknown(f"config.{_WHERE}.schedule.name", name, decays)
    if name == "exponential" and fraction == 0:
        raise errors.UserError(
            f"config.{_WHERE}.schedule.final_fraction = 0 is out of reach of an exponential decay; "
            "give a value above 0"
        )
    decay = decays[name](meta_steps - warmup)
    if not warmup:
        return decay
    return optax.join_schedules(
        [optax.linear_schedule(0.0, learning_rate, warmup), decay], [warmup]
    )


def _clips(norm: float | None, value: float | None) -> list[optax.GradientTransformation]:
    for field, limit in (("clip_norm", norm), ("clip_value", value)):
        if limit is not None and not (isinstance(limit, int | float) and limit > 0):
            raise errors.UserError(f"config.{_WHERE}.{field} = {limit!r} must be above 0, or None")
    clips = [] if norm is None else [optax.clip_by_global_norm(norm)]
    return clips if value is None else [*clips, optax.clip(value)]


def _behind(
    factors: Mapping[str, float] | None, average_rate: float | None
) -> list[optax.GradientTransformation]:
    """What follows the step: factors of groups, and the average of theta."""
    if factors is not None and not isinstance(factors, Mapping):
        raise errors.UserError(
            f"config.{_WHERE}.group_factors = {factors!r} must be a dict such as "
            "{'scalars': 1.0, 'network': 0.1}, or None"
        )
    for group, factor in (factors or {}).items():
        if not _is_number(factor) or not factor >= 0:
            raise errors.UserError(
                f"config.{_WHERE}.group_factors: {group} = {factor!r} must be a number, at least 0"
            )
    if average_rate is not None and not (_is_number(average_rate) and 0 < average_rate <= 1):
        raise errors.UserError(
            f"config.{_WHERE}.average_rate = {average_rate!r} must be above 0 and at most 1, or "
            "None for no average"
        )
    scales = [groups.scale_groups(factors)] if factors else []
    return scales if average_rate is None else [*scales, groups.average_theta(float(average_rate))]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


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
