"""The ``lopt`` command: a table of subcommands and the one place that turns errors into statuses.

Each subcommand is a module with ``HELP`` (its help text) and ``run(arguments) -> exit status``; it
is imported only when it is called, so that ``lopt --help`` answers at once.
"""

import atexit
import contextlib
import ctypes
import gc
import importlib
import os
import platform
import sys
import threading
from collections.abc import Sequence

from launch import errors

COMMANDS: dict[str, tuple[str, str]] = {
    "meta-train": ("launch.meta_train", "meta-train a learned optimizer from a config file"),
    "evaluate": (
        "launch.evaluate.evaluate_command",
        "judge learned optimizers on tasks they have not seen",
    ),
    "calibrate": (
        "launch.evaluate.calibrate_command",
        "find one setting of each baseline for many tasks",
    ),
    "diagnose": ("launch.diagnose", "find the estimator, K, number of pairs and std for a system"),
    "benchmark": ("launch.benchmark", "measure the speed of meta-training"),
    "reproduce": ("launch.reproduce", "run an experiment of the PES paper"),
    "report": ("launch.report", "write an HTML page about a run or an evaluation"),
    "inspect": ("launch.inspect", "show the checkpoints of a run, and whether they are whole"),
    "export": ("launch.export", "write the optimizer of a run as a bundle to share"),
    "push": ("launch.push", "upload a bundle to the Hugging Face Hub"),
    "pull": ("launch.pull", "download a bundle from the Hugging Face Hub"),
    "import": ("launch.import_theta", "make a bundle of what another framework has trained"),
    "list": ("launch.list_names", "show the optimizers, tasks, estimators, baselines and configs"),
    "data": ("launch.data", "show or prepare the data sets that tasks read"),
    "launch": ("launch.launchers", "meta-train with several processes or on a cluster"),
}
"""Subcommand -> (module, one line of help)."""

EXTRAS: dict[str, tuple[str, ...]] = {
    "train": (
        "PIL",
        "clu",
        "etils",
        "filelock",
        "flax",
        "joblib",
        "matplotlib",
        "ml_collections",
        "msgspec",
        "orbax",
        "packaging",
        "rich",
        "scipy",
        "sklearn",
        "tensorboardX",
    ),
    "data": ("array_record", "importlib_resources", "tensorflow_datasets"),
    "report": ("jinja2", "markupsafe"),
    "control": ("gymnasium", "mujoco"),
    "gcs": ("etils", "gcsfs"),
    "hub": ("huggingface_hub",),
    "wandb": ("wandb",),
    "mlflow": ("alembic", "mlflow", "sqlalchemy"),
}
"""Extra of pyproject.toml -> what it brings that the package alone does not, as imported."""

_USAGE = "usage: lopt COMMAND [ARGUMENTS]      lopt COMMAND --help"
_SECONDS_TO_END = 5.0
_M_ARENA_MAX = -8
_ALLOCATIONS_PER_COLLECTION = 50_000
"""Tracing makes many objects that stay, which Python's collector would search again after every
700; a start takes 6 % less with this."""
_MORE_THAN_THREADS = 4096
_EXAMPLE = "lopt meta-train --config=digits_mlp_pes --workdir=runs/digits"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand.

    Args:
        arguments: the words after ``lopt``; those of this process where None.

    Returns:
        The exit status, see ``launch.errors``. An error that is not the user's is raised.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _dispatch(words)
    except errors.UserError as error:
        print(f"lopt: error: {errors.one_line(error)}", file=sys.stderr)
        return errors.USER_ERROR
    except ModuleNotFoundError as error:
        print(f"lopt: error: {_missing(error, words[0])}", file=sys.stderr)
        return errors.USER_ERROR
    except errors.RunFailed as error:
        print(f"lopt: error: {errors.one_line(error)}", file=sys.stderr)
        return errors.FAILED
    except KeyboardInterrupt:
        print("lopt: interrupted", file=sys.stderr)
        return errors.FAILED
    except BrokenPipeError:
        # The reader (`lopt list | head`) has gone; a second complaint at exit helps nobody.
        sys.stdout = None
        return errors.FAILED


def entry() -> int:
    """``main`` as a whole process, with settings of its own, which ends within seconds of it.

    Where a disk has failed within a save, threads of Orbax wait for each other for minutes, and
    Python would wait for them.
    """
    ended: list[int] = []
    atexit.register(_end, ended)  # before all others, so that it is called after them
    one_arena_per_thread()
    gc.set_threshold(_ALLOCATIONS_PER_COLLECTION)
    status = main()
    ended.append(status)
    limit = threading.Timer(_SECONDS_TO_END, os._exit, [status])
    limit.daemon = True
    limit.start()
    return status


def _end(ended: list[int]) -> None:
    """Leave with the status, if there is one, and Python as it is.

    Where Python takes itself down while a thread of XLA lets go of an array, that thread aborts
    the process.
    """
    if ended:
        for stream in filter(None, (sys.stdout, sys.stderr)):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(ended[0])


def one_arena_per_thread() -> bool:
    """Let every thread have an arena of its own; to be called first of all in a process.

    Once there are more than eight arenas, as when JAX has joined other processes, glibc takes no
    other number.

    glibc makes eight arenas for each core of the machine; further threads share them. XLA's CPU
    programs allocate in every operation, so where a computing thread shares the arena that a
    compiling one has left in pieces, it spends up to a tenth of its time in the search for room
    (docs/scaling.md). ``MALLOC_ARENA_MAX`` and ``GLIBC_TUNABLES``, glibc's own settings, have the
    last word.

    Returns:
        Whether it was done; False as well where the C library is not glibc.
    """
    if "MALLOC_ARENA_MAX" in os.environ or "arena_max" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    if platform.libc_ver()[0] != "glibc":
        return False
    return ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _MORE_THAN_THREADS) == 1


def _dispatch(words: list[str]) -> int:
    if not words:
        raise errors.UserError(f"no command given; `lopt --help` lists them, or try: {_EXAMPLE}")
    name, *rest = words
    if name in ("-h", "--help", "help"):
        print(_help())
        return errors.DONE
    if name not in COMMANDS:
        raise errors.unknown("command", name, COMMANDS)
    module = importlib.import_module(COMMANDS[name][0])
    if {"-h", "--help"} & set(rest):
        # One with subcommands of its own has the help of each.
        text = module.help_for(rest) if hasattr(module, "help_for") else module.HELP
        print(text.strip())
        return errors.DONE
    return module.run(rest)


def _missing(error: ModuleNotFoundError, command: str) -> str:
    """Which extra to install; raises the error again where no extra brings what is missing."""
    package = (error.name or "").partition(".")[0]
    extra = next((extra for extra, brought in EXTRAS.items() if package in brought), None)
    if extra is None:
        raise error
    # `lopt report` needs more than lopt[train]; the extra of its own name brings both.
    extra = command if extra == "train" and command in EXTRAS else extra
    return (
        f"`lopt {command}` needs {package}, which is not installed; run pip install 'lopt[{extra}]'"
    )


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {summary}" for name, (_, summary) in COMMANDS.items()]
    return "\n".join([_USAGE, "", *lines, "", f"example: {_EXAMPLE}"])


if __name__ == "__main__":
    sys.exit(entry())
