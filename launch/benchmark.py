"""``lopt benchmark``: how fast, how large and how near the limit of the machine meta-training is.

``python -m launch.benchmark`` is one of the processes that it measures.
"""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from configs.base import RunConfig
from launch import cli, configuration, errors, overrides, workdir
from launch.options import flag, help_of, read


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The command's flags."""

    cases: tuple[str, ...] = flag("NAME,...", "what is measured, wildcards allowed", default=())
    list: bool = flag("", "print the names of the cases, and end")
    cores: int | None = flag("N", "cores for each process; on one, seconds are processor time")
    turns: int = flag("N", "that every case has; medians over them are printed", default=5)
    seconds: float = flag("X", "of one turn", default=2.0)
    workdir: str = flag("DIR", "where benchmark.json and .md go", default="runs/benchmark")
    before: str | None = flag("FILE", "benchmark.json of an earlier run, to stand beside this one")
    against: str | None = flag("DIR", "checkout of another version of lopt, measured in turn")
    reference: str | None = flag("DIR", "checkout of google/learned_optimization, likewise")
    reference_python: str | None = flag("FILE", "interpreter of an environment that can run it")


HELP = f"""
usage: lopt benchmark [--config.FIELD=VALUE ...] [FLAGS]

{help_of(Arguments, {"--config.FIELD=VALUE": "a change to the configs of all cases"})}

example: lopt benchmark --cases='digits/*,start/*' --cores=1
"""


def run(arguments: Sequence[str]) -> int:
    """Measure; returns the exit status."""
    changes = [word for word in arguments if word.startswith("--config.")]
    asked, _ = read(Arguments, [word for word in arguments if word not in changes])
    from meta_train import benchmark

    with errors.mistakes("", ValueError, OSError):
        cases = benchmark.select(asked.cases)
        before = json.loads(Path(asked.before).read_text())["results"] if asked.before else []
        if asked.cores is not None:
            benchmark.limit_cores(asked.cores)
    if asked.list:
        print(*(case.name for case in cases), sep="\n")
        return errors.DONE
    configs = {}
    for case in cases:
        found = (configuration.load(case.packaged, RunConfig) if case.packaged
                 else configuration.complete(case.config, RunConfig))  # fmt: skip
        configs[case.name] = overrides.apply(found, changes)[0].to_dict()
    folder = workdir.prepare(asked.workdir)
    with tempfile.TemporaryDirectory() as own:
        results, random = benchmark.measure(configs, benchmark.Settings(
            ("-m", "launch.benchmark"), ("-m", "launch.meta_train"), Path(own), asked.turns,
            asked.seconds, asked.against, asked.reference, asked.reference_python,
        ))  # fmt: skip
    text = benchmark.markdown(results, asked.turns, asked.cores, random, before)
    workdir.write_json(folder / "benchmark.json", {"results": results, "random": sorted(random)})
    (folder / "benchmark.md").write_text(text, encoding="utf-8")
    print(text)
    return errors.FAILED if any("error" in row for row in results) else errors.DONE


if __name__ == "__main__":
    cli.one_arena_per_thread()  # as in a run
    from launch.build import build
    from meta_train.benchmark import serve, worker

    serve(worker(lambda config: build(configuration.complete(config, RunConfig)).trainer))
