"""An LSTM that reads a text: where backpropagation has nothing to fear, and what evolution costs.

With 1,276 parameters, and losses that are smooth and hang on the last few characters, neither chaos
nor short truncations do harm, and the variance of evolution strategies, which grows with the number
of parameters, decides. Expected: truncated backpropagation below all of them, and NRES below PES,
whose variance on a text is the larger one [1]. The numbers are from this code.

[1] Vicol, Kolter and Swersky, "Low-Variance Gradient Estimation in Unrolled Computation Graphs
    with ES-Single", ICML 2023, arXiv:2304.11153.
"""

from functools import partial

import jax.numpy as jnp
from jaxtyping import Array, Float

from meta_train.estimators.bptt import BPTT
from meta_train.estimators.nres import NRES
from meta_train.estimators.pes import PES
from meta_train.estimators.truncated_bptt import TruncatedBPTT
from meta_train.estimators.truncated_es import TruncatedES
from meta_train.experiments.comparison import Below, Comparison, Method
from meta_train.experiments.experiment import Experiment
from meta_train.experiments.unrolled import episodes
from meta_train.particles import Execution
from meta_train.systems.character_lstm import character_lstm
from meta_train.types import Theta, UnrolledSystem

_T, _K, _STD = 100, 10, 0.1


def _judge(system: UnrolledSystem, theta: Theta) -> Float[Array, ""]:
    return jnp.mean(episodes(system, theta, _T, 64))


def _plan(num_pairs: int, meta_steps: int, num_seeds: int) -> Comparison:
    estimators = {
        "truncated_bptt": TruncatedBPTT(_T, _K, num_particles=2 * num_pairs),
        "bptt": BPTT(_T, num_particles=2 * num_pairs * _K // _T),
        "nres": NRES(_T, _K, num_pairs=num_pairs, std=_STD),
        "pes": PES(_T, _K, num_pairs=num_pairs, std=_STD),
        "truncated_es": TruncatedES(_T, _K, num_pairs=num_pairs, std=_STD),
    }
    return Comparison(
        system=character_lstm(),
        judge=_judge,
        measure="nats per character",
        methods={x: Method(y, "adam", 1e-2) for x, y in estimators.items()},
        meta_steps=meta_steps,
        num_seeds=num_seeds,
        expected=(
            *(Below("truncated_bptt", x) for x in ("nres", "pes", "truncated_es")),
            Below("nres", "pes"),
        ),
        execution=Execution("parallel"),
        num_points=25,
    )


EXPERIMENT = Experiment(
    summary="an LSTM that reads a text: where derivatives are good, evolution strategies pay for "
    "their variance",
    presets={"quick": partial(_plan, 50, 500, 3), "full": partial(_plan, 500, 5000, 5)},
)
