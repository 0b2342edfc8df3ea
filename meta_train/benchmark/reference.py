"""One case in google/learned_optimization, in an environment of its own.

``protocol`` runs this file with the interpreter of that environment; it imports nothing of ours.
Of the framework it calls the public API alone, unpatched, by its own loop over meta-steps. It is
fed from arrays that stay the same, so that its data pipeline costs nothing. Where TensorFlow is
not installed, empty modules stand in for it: the framework imports it for data sets that are not
used here.
"""

import importlib.util
import sys
import types
from collections.abc import Iterator
from typing import Any

age: Any
repeat: Any
"""Of ``protocol``, which puts them here."""


class _Missing(types.ModuleType):
    """A module of which all may be called, as for settings made at import, and nothing happens."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Missing(name)

    def __call__(self, *_: Any, **__: Any) -> None:
        """Do nothing."""


def stand_in_for_tensorflow() -> None:
    """Put empty modules in the place of TensorFlow and its data sets, if they are missing."""
    importlib.import_module("flax.training.checkpoints")  # which looks for TensorFlow too
    parts = ("", ".compat", ".compat.v1", ".compat.v2")
    for package, names in (("tensorflow", parts), ("tensorflow_datasets", ("",))):
        if importlib.util.find_spec(package) is None:
            sys.modules.update({f"{package}{name}": _Missing(f"{package}{name}") for name in names})


def _module(name: str) -> Any:
    return importlib.import_module(f"learned_optimization.{name}")


def make_task(case: dict[str, Any]) -> Any:
    """Classification of random images, the same batch in every step."""
    import jax
    import numpy as np

    base, datasets = _module("tasks.base"), _module("tasks.datasets.base")
    image_mlp = _module("tasks.fixed.image_mlp")
    inputs, size = int(np.prod(case["shape"])), case["batch_size"]
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.standard_normal((size, inputs), np.float32),
        "label": rng.integers(0, 10, size, dtype=np.int32),
    }

    def forever() -> Iterator[dict[str, Any]]:
        while True:
            yield batch

    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), batch)
    splits = [forever() for _ in ("train", "inner_valid", "outer_valid", "test")]
    data = datasets.Datasets(*splits, extra_info={"num_classes": 10}, abstract_batch=shapes)
    return base.single_task_to_family(image_mlp._MLPImageTask(data, case["hidden"]))


def make_learner(case: dict[str, Any]) -> Any:
    """Persistent evolution strategies as in the case, with particles out of step as it can."""
    if case["optimizer"] == "mlp":
        optimizer = _module("learned_optimizers.mlp_lopt").MLPLOpt()
    else:
        scalar = {"concat_weights": False, "split_weights": True}
        adafac = _module("learned_optimizers.adafac_mlp_lopt").AdafacMLPLOpt
        optimizer = adafac(**scalar if case["fastest"] else {})
    horizon, length = case["horizon"], case["truncation_length"]
    step = _module("outer_trainers.lopt_truncated_step").VectorizedLOptTruncatedStep(
        make_task(case),
        optimizer,
        _module("outer_trainers.truncation_schedule").ConstantTruncationSchedule(horizon),
        num_tasks=case["num_pairs"],
        random_initial_iteration_offset=horizon,
    )
    estimator = _module("outer_trainers.truncated_pes").TruncatedPES(
        step, trunc_length=length, std=case["std"], steps_per_jit=length
    )
    meta_optimizer = _module("optimizers.optax_opts").Adam(1e-4)
    return _module("outer_trainers.gradient_learner").SingleMachineGradientLearner(
        optimizer, [estimator], meta_optimizer
    )


def start(order: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Take the first meta-step of ``order["case"]``; "run" takes more, for so many seconds."""
    stand_in_for_tensorflow()
    import jax

    case = order["case"]
    learner, key = make_learner(case), jax.random.PRNGKey(0)
    state, _, _ = learner.update(learner.init(key), key)
    steps = 0

    def take(count: int) -> None:
        nonlocal state, steps
        for _ in range(count):
            steps += 1
            state, _, _ = learner.update(state, jax.random.fold_in(key, steps))
        jax.block_until_ready(state.gradient_learner_state)

    def run(seconds: float) -> dict[str, Any]:
        inner_steps = 2 * case["num_pairs"] * case["truncation_length"]
        return {**repeat(take, seconds), "inner_steps": inner_steps}

    return {"first_seconds": age(order["started"]), "jax": jax.__version__}, {"run": run}
