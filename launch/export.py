"""``lopt export``: the optimizer of a run, at any checkpoint, as a bundle to share."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
from etils import epath

import lopt
from checkpoints import Store
from launch import bundles, errors, workdir
from launch.options import flag, help_of, read
from lopt.bundle import check_target
from lopt.bundle_config import theta_sha256
from lopt.bundle_files import WEIGHTS
from meta_train.evaluation import Evaluation
from meta_train.evaluation.comparisons import merge
from meta_train.evaluation.evaluation import SUMMARY
from meta_train.evaluation.model_card import Judged, judged
from meta_train.run import run_folder


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The command's flags."""

    step: int | None = flag(
        "N",
        "the checkpoint after meta-step N (`lopt inspect WORKDIR` lists them); by default the "
        "newest whole one, or with --evaluation the one that was evaluated",
        least=0,
    )
    evaluation: tuple[str, ...] = flag(
        "DIR,...",
        "folders of `lopt evaluate` with this optimizer; the results go into the card, where "
        "others that were judged beside a bundle stand as what it is compared with",
        default=(),
    )
    title: str | None = flag("TEXT", "first line of the card")
    description: str | None = flag("TEXT", "the lines below it")
    command: str | None = flag(
        "TEXT", "a line of the card: the command that makes this optimizer again"
    )
    license: str | None = flag(
        "SPDX",
        "of the weights, an SPDX expression such as Apache-2.0 (default) or CC-BY-4.0",
    )
    reset: tuple[str, ...] = flag(
        "PART,...",
        "of a bundle: parts of theta, such as scalars/step_size, as its rule draws them first; "
        "evaluated beside the bundle, it shows what meta-training them is worth",
        default=(),
    )


HELP = f"""
usage: lopt export WORKDIR|BUNDLE OUT [FLAGS]

Writes the learned optimizer of a run, finished or not, into a new folder: theta.safetensors,
config.json and a model card (README.md) that is filled from the run. `lopt.load(OUT)` makes an
Optax optimizer of it. A bundle, which may be one that comes with lopt (`lopt list bundles`), is
written again, with what the flags change in its card.

{help_of(Arguments)}

example: lopt export runs/digits my_optimizer --title="Digits optimizer"
"""

_EXAMPLE = "lopt export runs/digits my_optimizer"
_CARD = ("title", "description", "command", "license")
"""Entries of the card that have a flag."""


def run(arguments: Sequence[str]) -> int:
    """Export an optimizer; returns the exit status."""
    asked, words = read(Arguments, arguments, ("WORKDIR", "OUT"), _EXAMPLE)
    folder, out = bundles.locate(words[0]), workdir.place(words[1])
    given = {name: text for name in _CARD if (text := getattr(asked, name)) is not None}
    if "license" in given:
        given["license"] = _spdx(given["license"])
    # A run may hold the accelerators, and theta is small.
    jax.config.update("jax_platforms", "cpu")
    try:
        check_target(out)
        make = _of_bundle if (folder / WEIGHTS).exists() else _of_run
        bundle, said = make(folder, asked)
        lopt.save(out, bundle.optimizer, bundle.theta, card={**bundle.card, **given})
    except ValueError as error:
        raise errors.UserError(str(error)) from error
    except OSError as error:
        raise errors.UserError(
            f"{error.filename or out} cannot be read or written ({error.strerror})"
        ) from error
    print(f"{out}: {said}")
    return errors.DONE


def _of_run(folder: epath.Path, asked: Arguments) -> tuple[lopt.Bundle, str]:
    """The optimizer of a checkpoint, and what to say of it."""
    if asked.reset:
        raise errors.UserError(f"--reset is for bundles; {folder}/bundle is one after the run")
    found = _judged(asked.evaluation) if asked.evaluation else None
    source = bundles.find(folder, asked.step, found and found.theta_sha256)
    compared = folder / run_folder.COMPARISON
    if found is None and (compared / SUMMARY).exists():
        found = _judged([str(compared)])
        if found.theta_sha256 != theta_sha256(jax.tree.leaves(source.theta)):
            found = None
    meta_step, config = source.meta_step, source.config
    card = bundles.make_card(config, source.metadata, meta_step, source.valid_loss)
    said = f"{config.optimizer.name} after meta-step {meta_step} of {config.meta_steps}"
    best = source.metadata["validation"]["best_meta_step"]
    if best != meta_step and best in Store(folder / run_folder.CHECKPOINTS).numbers():
        said += f"\nmeta-validation was lowest after meta-step {best}: --step={best} exports that"
    entries = found.entries if found else {}
    return lopt.Bundle(source.optimizer, source.theta, {**card, **entries}), said


def _of_bundle(folder: epath.Path, asked: Arguments) -> tuple[lopt.Bundle, str]:
    """The optimizer of a bundle, changed as the flags say, and what to say of it."""
    if asked.step is not None:
        raise errors.UserError(f"{folder} is a bundle: it has no checkpoints, so no --step")
    if asked.reset and asked.evaluation:
        raise errors.UserError(
            "--reset makes another optimizer than --evaluation judged; evaluate OUT, then "
            "export it with --evaluation"
        )
    bundle = lopt.load_bundle(folder)
    if asked.reset:
        words = f"the first {', '.join(asked.reset)}"
        card = {"title": f"{bundle.card.get('title', folder.name)}, {words}"}
        kept = ("horizon", "meta_training", "license")
        card |= {name: bundle.card[name] for name in kept if name in bundle.card}
        with errors.mistakes("--reset: "):
            reset = bundle._replace(theta=bundle.first_theta(asked.reset), card=card)
        return reset, f"the optimizer of {folder} with {words}"
    if asked.evaluation:
        own = theta_sha256(jax.tree.leaves(bundle.theta))
        found = _judged(asked.evaluation, own)
        if found.theta_sha256 != own:
            raise errors.UserError(
                f"--evaluation is of another theta (SHA-256 {found.theta_sha256}) than {folder} "
                "holds; evaluate what is to be exported"
            )
        bundle = bundle._replace(card={**bundle.card, **found.entries})
    return bundle, f"the optimizer of {folder}"


def _judged(folders: Sequence[str], sha256: str | None = None) -> Judged:
    """What evaluations say; where there are several, about the theta with this checksum."""
    files = [workdir.place(folder) / SUMMARY for folder in folders]
    for file in files:
        if not file.is_file():
            raise errors.UserError(
                f"--evaluation={file.parent} holds no {SUMMARY} of `lopt evaluate`"
            )
    try:
        found = [Evaluation.load(file.parent) for file in files]
        whole = found[0] if len(found) == 1 else Evaluation(merge([x.summary for x in found]))
        return judged(whole, sha256)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise errors.UserError(
            f"{' or '.join(map(str, files))} is damaged or of another version "
            f"({type(error).__name__}: {error})"
        ) from error


def _spdx(text: str) -> str:
    from packaging import licenses

    try:
        return licenses.canonicalize_license_expression(text)
    except licenses.InvalidLicenseExpression as error:
        raise errors.UserError(
            f"--license={text!r} is no SPDX expression ({error}); for instance Apache-2.0, "
            "CC-BY-4.0 or LicenseRef-proprietary"
        ) from error
