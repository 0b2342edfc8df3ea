"""``lopt evaluate``: the command line of an evaluation."""

from collections.abc import Sequence
from dataclasses import dataclass

from configs.held_out import EvaluationConfig
from launch import errors, options, overrides, workdir
from launch.options import flag


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """What is asked besides the config."""

    workdir: str = flag(
        "DIR",
        "where the evaluation goes: config.json, results.csv (tidy: one row per recorded point), "
        "summary.json (measures), parts/ (finished results, from which the same command resumes "
        "where it was stopped)",
        example="runs/digits/held_out",
    )


_WORDS = {
    "BUNDLE": "a folder that lopt.save or a run has written, a run's work folder, or the name of "
    "one that comes with lopt (`lopt list bundles`); several are judged side by side, none judges "
    "the baselines alone",
    "--config=CONFIG": "held_out or held_out_large, the packaged suites; a .py file with "
    "get_config(), which may hold only what it changes; or a config.json that an evaluation has "
    "written",
    "--config.FIELD=VALUE": "change one field: --config.num_seeds=10 "
    "--config.tasks=digits_conv,wine_mlp --config.baselines=adam,adabelief (configs/held_out.py "
    "describes them all)",
}
HELP = f"""
usage: lopt evaluate [BUNDLE ...] --config=held_out --workdir=DIR [--config.FIELD=VALUE ...]

Trains every task of a suite with learned optimizers and with tuned baselines, from several seeds.

{options.help_of(Arguments, _WORDS)}

Tuned hyperparameters and curves of baselines are kept in the user's cache folder and not computed
again; hyperparameters for the packaged suites come with the package. From cold:
--config.tuning.use_shipped=False --config.cache_dir=NEW_FOLDER.

A held-out task that an optimizer was meta-trained on or chosen by is refused;
--config.tasks.LABEL.set=meta_training (or validation) shows it as what it is. Ctrl-C ends with
status 75; run it again to resume. Other statuses: 0 done, 2 your mistake, 1 a failure.

example: lopt evaluate general runs/digits --config=held_out --workdir=runs/held_out
"""


def run(arguments: Sequence[str]) -> int:
    """Evaluate; returns the exit status."""
    config, rest = overrides.resolve(arguments, EvaluationConfig, "held_out")
    asked, bundles = options.read(Arguments, rest, positional=("BUNDLE",) * len(rest))
    folder = workdir.prepare(asked.workdir)

    from launch.evaluate.evaluation_run import evaluate  # imports JAX: what is cheap is checked

    evaluate(config, bundles, folder)
    return errors.DONE
