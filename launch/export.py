"""``lopt export``: the optimizer of a run, at any checkpoint, as a bundle to share."""

import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from absl import flags
from jax.sharding import SingleDeviceSharding

import lopt
import meta_train
from checkpoints import DamagedError, MismatchError, Store
from launch import bundles, configuration, errors, options, user_code, workdir
from launch.build import make_named
from launch.configuration import Config
from launch.construct import plain
from launch.meta_optimizer import make_meta_optimizer
from lopt import bundle_config, bundle_files
from lopt.bundle import check_target
from meta_train.evaluation import Evaluation
from meta_train.evaluation.comparisons import merge
from meta_train.evaluation.evaluation import SUMMARY
from meta_train.groups import averaged

HELP = """
usage: lopt export WORKDIR|BUNDLE OUT [--step=N] [--evaluation=DIR] [--title=TEXT]
                   [--description=TEXT] [--command=TEXT] [--license=SPDX] [--reset=PART,...]

Writes the learned optimizer of a run, finished or not, into a new folder: theta.safetensors,
config.json and a model card (README.md) that is filled from the run. `lopt.load(OUT)` makes an
Optax optimizer of it. A bundle, which may be one that comes with lopt (`lopt list bundles`), is
written again, with what the flags change in its card.

  --step=N          the checkpoint after meta-step N (`lopt inspect WORKDIR` lists them); by
                    default the newest whole one, or with --evaluation the one that was evaluated
  --evaluation=DIR  folder of `lopt evaluate` with this optimizer; its results go into the card. It
                    may be several folders, DIR,DIR; others that were judged beside a bundle stand
                    in the card as what it is compared with
  --title, --description   first lines of the card
  --command         a line of the card: the command that makes this optimizer again
  --license         of the weights, an SPDX expression such as Apache-2.0 (default) or CC-BY-4.0
  --reset=PART,...  of a bundle: parts of theta, such as scalars/step_size, as its rule draws them
                    first; evaluated beside the bundle, it shows what meta-training them is worth

example: lopt export runs/digits my_optimizer --title="Digits optimizer"
"""

_GIVEN = ("title", "description", "command", "license")
"""Entries of the card that have a flag."""


class Source(NamedTuple):
    """A checkpoint of a learned optimizer."""

    meta_step: int
    metadata: Mapping[str, Any]
    config: Config
    optimizer: lopt.LearnedOptimizer
    theta: Any
    valid_loss: float | None


def run(arguments: Sequence[str]) -> int:
    """Export an optimizer; returns the exit status."""
    values = flags.FlagValues()
    flags.DEFINE_integer("step", None, "Meta-step of the checkpoint.", flag_values=values)
    for name in _GIVEN:
        flags.DEFINE_string(name, None, "See HELP.", flag_values=values)
    flags.DEFINE_list("evaluation", [], "Folders of evaluations.", flag_values=values)
    flags.DEFINE_list("reset", [], "Parts of theta.", flag_values=values)
    words = options.parse(arguments, values, positional=("WORKDIR", "OUT"))
    if len(words) < 2:
        missing = ("WORKDIR", "OUT")[len(words)]
        raise errors.UserError(
            f"{missing} is missing; for instance `lopt export runs/digits my_optimizer`"
        )
    folder, out = bundles.locate(words[0]), Path(words[1]).expanduser()
    given = {name: str(values[name].value) for name in _GIVEN if values[name].present}
    evaluation = [str(folder) for folder in values["evaluation"].value or ()]
    if "license" in given:
        given["license"] = _spdx(given["license"])
    try:
        check_target(out)
        if (folder / bundle_files.WEIGHTS).exists():
            if values["step"].present:
                raise errors.UserError(f"{folder} is a bundle: it has no checkpoints, so no --step")
            if values["reset"].value and evaluation:
                raise errors.UserError(
                    "--reset makes another optimizer than --evaluation judged; evaluate OUT, then "
                    "export it with --evaluation"
                )
            if values["reset"].value:
                reset(folder, out, values["reset"].value, given)
            else:
                rewrite(folder, out, evaluation, given)
        elif values["reset"].value:
            raise errors.UserError(f"--reset is for bundles; {folder}/bundle is one after the run")
        else:
            export(folder, out, values["step"].value, evaluation, given)
    except ValueError as error:
        raise errors.UserError(str(error)) from error
    except OSError as error:
        raise errors.UserError(
            f"{error.filename or out} cannot be read or written ({error.strerror})"
        ) from error
    return errors.DONE


def export(
    folder: Path, out: Path, step: int | None, evaluation: Sequence[str], given: Mapping[str, Any]
) -> None:
    """Write the bundle of a run.

    Args:
        folder: work folder of a run.
        out: folder to write.
        step: meta-step of the checkpoint; None takes the newest whole one, or the one that was
            evaluated.
        evaluation: folders of evaluations of this optimizer; may be none.
        given: title, description, command and license, where they are to be others.

    Raises:
        UserError: there is no such checkpoint, it is damaged or not of a learned optimizer, or the
            evaluation is of another theta.
        ValueError: what ``lopt.save`` raises.
    """
    # The run may still hold the accelerators, and theta is small.
    jax.config.update("jax_platforms", "cpu")
    if evaluation:
        found = _evaluation(evaluation)
        source, more = find(folder, step, found.theta_sha256), found.entries
    else:
        source = find(folder, step)
        more = _compared(folder, source)
    horizon = meta_train.make_horizon(plain(source.config.estimator.horizon)).max
    metadata, meta_step = source.metadata, source.meta_step
    card = bundles.make_card(metadata, horizon, meta_step, source.valid_loss)
    bundles.save(out, source.optimizer, source.theta, {**card, **more, **given})
    name, wanted = source.config.optimizer.name, source.config.meta_steps
    print(f"{out}: {name} after meta-step {meta_step} of {wanted}")
    _point_to_best(folder, source)


def rewrite(folder: Path, out: Path, evaluation: Sequence[str], given: Mapping[str, Any]) -> None:
    """Write a bundle again, with another card.

    Args:
        folder: of the bundle.
        out: folder to write.
        evaluation: see ``export``, like ``given`` and what is raised.
        given: see ``export``.
    """
    optimizer, theta, card = lopt.load_bundle(folder)
    if evaluation:
        own = bundle_config.theta_sha256(jax.tree.leaves(theta))
        found = _evaluation(evaluation, own)
        if found.theta_sha256 != own:
            raise errors.UserError(
                f"--evaluation is of another theta (SHA-256 {found.theta_sha256}) than {folder} "
                "holds; evaluate what is to be exported"
            )
        card = {**card, **found.entries}
    lopt.save(out, optimizer, theta, card={**card, **given})
    print(f"{out}: the optimizer of {folder}")


def reset(folder: Path, out: Path, parts: Sequence[str], given: Mapping[str, Any]) -> None:
    """Write a bundle with parts of theta as its rule draws them first.

    Args:
        folder: of the bundle.
        out: folder to write.
        parts: of theta, such as "scalars" or "scalars/step_size".
        given: see ``export``.

    Raises:
        UserError: theta has no such part.
    """
    optimizer, theta, card = lopt.load_bundle(folder)
    first = optimizer.init(jax.random.key(0))
    leaves, structure = jax.tree.flatten_with_path(theta)
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]
    # Of "scalars/beta": itself and "scalars".
    parts_with = [set(itertools.accumulate(name.split("/"), "{}/{}".format)) for name in names]
    known = set[str]().union(*parts_with)
    for part in parts:
        if part not in known:
            raise errors.unknown("part of theta in --reset", part, known)
    chosen = [
        old if within.isdisjoint(parts) else new
        for within, (_, old), new in zip(parts_with, leaves, jax.tree.leaves(first), strict=True)
    ]
    title = f"{card.get('title', folder.name)}, the first {', '.join(parts)}"
    kept = {name: card[name] for name in ("horizon", "meta_training", "license") if name in card}
    lopt.save(out, optimizer, structure.unflatten(chosen), card={"title": title, **kept, **given})
    print(f"{out}: the optimizer of {folder} with the first {', '.join(parts)}")


def find(folder: Path, step: int | None, theta_sha256: str | None = None) -> Source:
    """The newest whole checkpoint, after all its checksums.

    Args:
        folder: work folder of a run.
        step: take that after this meta-step.
        theta_sha256: take one with this theta, see ``bundle_config.theta_sha256``.

    Raises:
        UserError: see ``export``.
    """
    store = Store(folder / workdir.CHECKPOINTS)
    numbers = store.numbers()
    if not numbers:
        raise errors.UserError(f"{folder} holds no checkpoints of a run, so there is no theta yet")
    if step is not None and step not in numbers:
        kept = ", ".join(map(str, numbers))
        raise errors.UserError(f"{folder} has no checkpoint --step={step}; it has {kept}")
    others = []
    for number in reversed(numbers) if step is None else [step]:
        try:
            source = _read(store, number)
        except DamagedError as error:
            print(f"checkpoint {store.folder / str(number)} is damaged: {error}")
            continue
        if theta_sha256 in (None, bundle_config.theta_sha256(jax.tree.leaves(source.theta))):
            return source
        others.append(str(number))
    if others:
        raise errors.UserError(
            f"--evaluation is of another theta (SHA-256 {theta_sha256}) than {folder} has after "
            f"meta-step {' or '.join(others)}; evaluate what is to be exported"
        )
    which = "all checkpoints" if step is None else f"checkpoint {step}"
    raise errors.UserError(f"{which} in {store.folder}: damaged; `lopt inspect {folder}` tells why")


def _spdx(text: str) -> str:
    from packaging import licenses

    try:
        return licenses.canonicalize_license_expression(text)
    except licenses.InvalidLicenseExpression as error:
        raise errors.UserError(
            f"--license={text!r} is no SPDX expression ({error}); for instance Apache-2.0, "
            "CC-BY-4.0 or LicenseRef-proprietary"
        ) from error


def _read(store: Store, number: int) -> Source:
    where = store.folder / str(number)
    step = store.read(number)
    metadata = step.metadata
    try:
        config = configuration.complete(metadata["config"])
    except errors.UserError as error:
        raise errors.UserError(f"the config of {where} is not of this version: {error}") from error
    if config.system.name != "lopt":
        raise errors.UserError(
            f"{where} holds the theta of config.system.name = {config.system.name!r}, which is no "
            "learned optimizer; its folder bundle/ has it as plain arrays at the end of the run"
        )
    user_code.import_all(config.imports)
    optimizer = make_named(lopt.LOPTS, "optimizer", plain(config.optimizer))
    here = SingleDeviceSharding(jax.local_devices()[0])
    like = {"theta": jax.eval_shape(optimizer.init, jax.random.key(0))}
    if config.meta_optimizer.average_rate is not None:
        meta_optimizer = make_meta_optimizer(plain(config.meta_optimizer), config.meta_steps)
        like["meta_opt_state"] = jax.eval_shape(meta_optimizer.init, like["theta"])
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), like)
    try:
        state = store.restore(number, {"meta_state": like})["meta_state"]
    except MismatchError as error:
        raise errors.UserError(
            f"{where} does not hold the theta of this version's {config.optimizer.name}: {error}"
        ) from error
    theta = jax.device_get(averaged(state.get("meta_opt_state"), state["theta"]))
    return Source(number, metadata, config, optimizer, theta, step.score)


def _compared(folder: Path, source: Source) -> dict[str, Any]:
    """Entries of the card from the comparison that ended the run, if it was with this theta."""
    file = folder / workdir.COMPARISON / SUMMARY
    if not file.exists():
        return {}
    with _damaged(file):
        found = bundles.evaluated(Evaluation.load(file.parent))
    own = bundle_config.theta_sha256(jax.tree.leaves(source.theta))
    return found.entries if found.theta_sha256 == own else {}


def _evaluation(folders: Sequence[str], theta_sha256: str | None = None) -> bundles.Evaluated:
    """What evaluations say; where there are several, about the theta that is named."""
    files = [Path(folder).expanduser() / SUMMARY for folder in folders]
    for file in files:
        if not file.is_file():
            raise errors.UserError(
                f"--evaluation={file.parent} holds no {SUMMARY} of `lopt evaluate`"
            )
    with _damaged(*files):
        found = [Evaluation.load(file.parent) for file in files]
        whole = found[0] if len(found) == 1 else Evaluation(merge([x.summary for x in found]))
        return bundles.evaluated(whole, theta_sha256)


@contextlib.contextmanager
def _damaged(*files: Path) -> Iterator[None]:
    """Say so where files that another command has written do not hold what they should."""
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise errors.UserError(
            f"{' or '.join(map(str, files))} is damaged or of another version "
            f"({type(error).__name__}: {error})"
        ) from error


def _point_to_best(folder: Path, source: Source) -> None:
    """Say where the theta with the lowest meta-validation is, if it is another one."""
    best = source.metadata["validation"]["best_meta_step"]
    if best != source.meta_step and best in Store(folder / workdir.CHECKPOINTS).numbers():
        print(f"meta-validation was lowest after meta-step {best}: --step={best} exports that")
