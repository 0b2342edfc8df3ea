"""The records of a run in MLflow."""

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from meta_train.run.start import RunFailed
from meta_train.run.writer import Tracker, frames, histogram, kept_id

# MLflow would otherwise report what is called, over the network; read when it is imported.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

from mlflow import MlflowClient  # pyright: ignore[reportMissingImports]
from mlflow.entities import Metric, Param  # pyright: ignore[reportMissingImports]
from mlflow.exceptions import MlflowException  # pyright: ignore[reportMissingImports]

_BATCH, _PARAMS_BATCH = 1000, 100
"""The most that MLflow takes at once."""
_SECONDS_BETWEEN = 5.0


class MlflowWriter(Tracker):
    """Writes into the SQLite store ``folder``/mlflow/mlflow.db, or to ``MLFLOW_TRACKING_URI``.

    Numbers are sent together every few seconds and at every checkpoint. A number and a
    hyperparameter that the store has keep their first value.

    Raises:
        RunFailed: the store cannot be opened.
    """

    def __init__(self, folder: Path) -> None:
        own = folder.absolute() / "mlflow"
        own.mkdir(parents=True, exist_ok=True)
        uri = os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{own}/mlflow.db")
        self._pending: list[Metric] = []
        self._sent = time.monotonic()
        try:
            self._client = client = MlflowClient(uri)
            self._run_id = kept_id(own / "run_id", lambda: _new_run(client, own, folder.name))
            client.update_run(self._run_id, status="RUNNING")
            data = client.get_run(self._run_id).data
            self._params = data.params
            histories = {x: client.get_metric_history(self._run_id, x) for x in data.metrics}
        except MlflowException as error:
            raise RunFailed(f"MLflow cannot use {uri}: {error}") from error
        self._last = {name: max(x.step for x in history) for name, history in histories.items()}
        print(f"mlflow: run {self._run_id} in {uri}", flush=True)

    def write_scalars(self, step: int, scalars: Mapping[str, Any]) -> None:
        new = {name: x for name, x in scalars.items() if step > self._last.get(name, -1)}
        self._last |= dict.fromkeys(new, step)
        milliseconds = int(time.time() * 1000)
        values = {name: float(np.asarray(x)) for name, x in new.items()}
        self._pending += [Metric(name, x, milliseconds, step) for name, x in values.items()]
        if time.monotonic() - self._sent > _SECONDS_BETWEEN or len(self._pending) >= _BATCH:
            self.flush()

    def write_texts(self, step: int, texts: Mapping[str, str]) -> None:
        with _as_os_error():
            for name, text in texts.items():
                self._client.log_text(self._run_id, text, f"{name}/{step}.txt")

    def write_images(self, step: int, images: Mapping[str, Any]) -> None:
        with _as_os_error():
            for name, image in images.items():
                for one in frames(image):
                    self._client.log_image(self._run_id, one, key=name, step=step)

    def write_histograms(
        self,
        step: int,
        arrays: Mapping[str, Any],
        num_buckets: Mapping[str, int] | None = None,
    ) -> None:
        """Write histograms of arrays by name as JSON, since MLflow draws none."""
        with _as_os_error():
            for name, array in arrays.items():
                counts, edges = histogram(array, (num_buckets or {}).get(name, 30))
                found = {"counts": counts.tolist(), "edges": edges.tolist()}
                self._client.log_dict(self._run_id, found, f"{name}/{step}.json")

    def write_hparams(self, hparams: Mapping[str, Any]) -> None:
        new = [Param(x, str(value)) for x, value in hparams.items() if x not in self._params]
        with _as_os_error():
            for i in range(0, len(new), _PARAMS_BATCH):
                self._client.log_batch(self._run_id, params=new[i : i + _PARAMS_BATCH])

    def flush(self) -> None:
        self._sent = time.monotonic()
        with _as_os_error():
            while self._pending:
                self._client.log_batch(self._run_id, metrics=self._pending[:_BATCH])
                del self._pending[:_BATCH]

    def close(self) -> None:
        self.flush()
        with _as_os_error():
            self._client.set_terminated(self._run_id)


def _new_run(client: MlflowClient, own: Path, name: str) -> str:
    """The id of a new run, in the experiment ``MLFLOW_EXPERIMENT_NAME`` or "lopt"."""
    experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", "lopt")
    found = client.get_experiment_by_name(experiment)
    if found is None:
        # What is no number lies beside the database; a server has a place of its own.
        local = None if "MLFLOW_TRACKING_URI" in os.environ else (own / "artifacts").as_uri()
        number = client.create_experiment(experiment, artifact_location=local)
    else:
        number = found.experiment_id
    return client.create_run(number, run_name=name).info.run_id


@contextlib.contextmanager
def _as_os_error() -> Iterator[None]:
    """As every writer says that something cannot be written now."""
    try:
        yield
    except MlflowException as error:
        raise OSError(f"MLflow: {error}") from error
