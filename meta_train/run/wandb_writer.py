"""The records of a run in Weights & Biases."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import wandb  # pyright: ignore[reportMissingImports]

from meta_train.run.start import RunFailed
from meta_train.run.writer import Tracker, frames, histogram, kept_id

_SETTLED = "2s"
"""Without a write for so long, a file is not written any more."""


class WandbWriter(Tracker):
    """Writes into ``folder``/wandb, from which ``wandb sync`` uploads it.

    A run waits for no network and asks for no login: it is only uploaded meanwhile with
    ``WANDB_MODE=online``. ``WANDB_PROJECT`` and W&B's other variables hold too.

    W&B only takes growing steps, and what has one step is one row. A meta-step may have two, its
    record and its validation, so that rows have the steps 2 n and 2 n + 1; curves are drawn over
    the column meta_step.

    Raises:
        RunFailed: W&B cannot begin.
    """

    def __init__(self, folder: Path) -> None:
        mode: Any = os.environ.get("WANDB_MODE", "offline")
        online = mode == "online"
        run_id = kept_id(folder / "wandb" / "run_id", lambda: uuid.uuid4().hex)
        try:
            self._first = 0 if online else _rows_end(folder, run_id)
            # W&B's process of a parent program would still hold the run of a killed child.
            os.environ.pop("WANDB_SERVICE", None)
            self._run = wandb.init(
                dir=folder,
                project=os.environ.get("WANDB_PROJECT", "lopt"),
                name=folder.name,
                id=run_id,
                mode=mode,
                resume="allow" if online else None,
                reinit="create_new",  # a program that makes a run may have one of its own
                settings=wandb.Settings(console="off", silent=True),
            )
        except wandb.Error as error:
            raise RunFailed(
                f"wandb cannot begin ({error}); config.writers can leave it out"
            ) from error
        self._run.define_metric("*", step_metric="meta_step")
        self._first = max(self._first, self._run.step)
        self._step = -1
        where = self._run.url if online else f"offline; `wandb sync {folder}/wandb/*-{run_id}`"
        print(f"wandb: {where}", flush=True)

    def write_scalars(self, step: int, scalars: Mapping[str, Any]) -> None:
        self._log(step, {name: float(np.asarray(x)) for name, x in scalars.items()})

    def write_texts(self, step: int, texts: Mapping[str, str]) -> None:
        self._log(step, texts)

    def write_images(self, step: int, images: Mapping[str, Any]) -> None:
        found = {name: [wandb.Image(x) for x in frames(image)] for name, image in images.items()}
        self._log(step, found)

    def write_histograms(
        self,
        step: int,
        arrays: Mapping[str, Any],
        num_buckets: Mapping[str, int] | None = None,
    ) -> None:
        found = {
            name: histogram(x, (num_buckets or {}).get(name, 30)) for name, x in arrays.items()
        }
        self._log(step, {name: wandb.Histogram(np_histogram=x) for name, x in found.items()})

    def write_hparams(self, hparams: Mapping[str, Any]) -> None:
        self._run.config.update(dict(hparams), allow_val_change=True)

    def flush(self) -> None:
        """W&B's own process writes at once."""

    def close(self) -> None:
        self._run.finish()

    def _log(self, step: int, values: Mapping[str, Any]) -> None:
        row = 2 * step + (step == self._step)
        self._step = step
        if row >= self._first:
            self._run.log({"meta_step": step, **values}, step=row)


def _rows_end(folder: Path, run_id: str) -> int:
    """The step after the last row that W&B's own reader finds in a work folder.

    W&B's process may write on for a moment after ours was killed; its reader waits for that. A file
    that it cannot read cannot be uploaded either, and counts for nothing.
    """
    reader = (sys.executable, "-P", "-m", "wandb", "leet", "inspect", "--json", "--follow")

    def last_row(file: Path) -> int:
        command = (*reader, f"--idle-timeout={_SETTLED}", str(file))
        read = subprocess.run(command, capture_output=True, text=True, check=False)
        records = map(json.loads, read.stdout.splitlines())
        rows = [x["history"]["step"]["num"] for x in records if x["type"] == "history"]
        return max(rows, default=-1)

    with ThreadPoolExecutor() as pool:  # a file per kill, and each is waited for
        found = pool.map(last_row, (folder / "wandb").glob(f"*-{run_id}/*.wandb"))
        return max(found, default=-1) + 1
