"""``lopt diagnose``: which estimator, K, number of pairs and std suit a config at a theta."""

from collections.abc import Sequence
from dataclasses import dataclass

from configs.base import RunConfig
from launch import errors, overrides, workdir
from launch.options import flag, help_of, read


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The command's flags."""

    theta: str | None = flag("RUN", "work folder of a run, or a bundle, whose theta is looked at; "
                             "by default the config's first theta")  # fmt: skip
    task: str | None = flag("LABEL", "which of the config's tasks, where it has several")
    estimators: tuple[str, ...] = flag("NAME,...", "compared with the config's own",
                                       default=("pes", "nres", "truncated_es"))  # fmt: skip
    truncation_lengths: tuple[int, ...] | None = flag(
        "K,...", "tried besides the config's; by default about a quarter of it and four times"
    )
    num_pairs: tuple[int, ...] | None = flag(
        "N,...", "whose time is taken besides the config's; by default four times that"
    )
    std_factors: tuple[float, ...] = flag(
        "X,...", "multiples of the config's std that are tried", default=(0.3, 3)
    )
    minutes: float = flag("X", "of measuring; drawing the meta-loss may add to it", default=3.5)
    workdir: str = flag("DIR", "where it goes: table.csv, summary.json, variance and landscape as "
                        "PNG and PDF; parts/, from which the same command resumes after a stop",
                        default="runs/diagnose")  # fmt: skip


HELP = f"""
usage: lopt diagnose --config=CONFIG [--config.FIELD=VALUE ...] [FLAGS]

Measures, at equal inner steps and at one theta, the bias, the variance and the signal-to-noise
ratio per second of gradient estimators, over K and std; and recommends a setting where it is better
by more than its standard errors. docs/diagnosis.md says what each number means.

{help_of(Arguments)}

example: lopt diagnose --config=digits_mlp_pes --theta=runs/digits
"""


def run(arguments: Sequence[str]) -> int:
    """Diagnose; returns the exit status."""
    config, rest = overrides.resolve(arguments, RunConfig, "digits_mlp_pes")
    given, _ = read(Arguments, rest)
    from launch import signals
    from launch.diagnosis_plan import prepare
    from meta_train import process
    from meta_train.diagnosis import diagnose
    from meta_train.evaluation.result_progress import TimeProgress

    folder = workdir.prepare(given.workdir)
    process.one_device_per_core()
    process.keep_compiled()
    with signals.listen(), workdir.lock(folder), errors.writing():
        found = prepare(config, given, folder)
        with TimeProgress(found.plan.seconds) as progress:
            diagnosis = diagnose(*found, report=progress.show)
        diagnosis.save(folder)
    print(diagnosis.table())
    print(diagnosis.words(), f"written to {folder}", sep="\n\n", flush=True)
    return errors.DONE
