"""The whole meta-step is lowered for accelerators, without the hardware."""

import jax
import optax
import pytest

import lopt
import tasks
from meta_train import ESTIMATORS, Execution, LoptSystem, MetaTrainer

ACCELERATOR = Execution("parallel", block_size=2**20)
TASK = tasks.make("quadratic", dim=12)
SMALL = {"mlp": {"hidden": (12,)}, "rnn_mlp": {"width": 4}, "velo": {"width": 4, "bank_size": 2}}
CASES = [(rule, "pes") for rule in lopt.LOPTS]
CASES += [
    pytest.param("sgd_schedule", name, marks=() if "bptt" in name else pytest.mark.slow)
    for name in ESTIMATORS
    if name != "pes"
]


@pytest.mark.parametrize(("rule", "estimator"), CASES)
def test_meta_step_is_lowered_for_tpu_and_cuda(rule, estimator):
    trainer = MetaTrainer(
        [LoptSystem(lopt.LOPTS[rule](**SMALL.get(rule, {})), TASK)],
        ESTIMATORS[estimator](4, 2, num_pairs=2, std=0.1),
        optax.adam(1e-3),
        execution=ACCELERATOR,
    )
    traced = jax.jit(trainer._steps).trace(trainer.abstract_state())
    lowered = traced.lower(lowering_platforms=("tpu", "cuda"))
    assert "stablehlo" in lowered.as_text()
