"""Run with eight CPU devices, in one process or two, by test_parallel.py; prints JSON.

python devices_program.py META_STEPS few|all|processes:PORT:ID ESTIMATOR ...
"""

import json
import sys

import jax
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from meta_train import ESTIMATORS, MetaTrainer
from meta_train.evaluation import meta_validate
from meta_train.horizons import ConstantHorizon
from meta_train.parallel import Devices
from meta_train.particles import Execution
from tests.meta_train.linear_system import SYSTEM, THETA

HORIZON = ConstantHorizon(18)


def meta_train(name: str, devices: Devices, meta_steps: int) -> dict:
    """Theta after some meta-steps, and the first meta-gradient's norm."""
    pairs = 4 if name == "truncated_bptt" else 8
    estimator = ESTIMATORS[name](HORIZON, truncation_length=5, num_pairs=pairs, std=0.1)
    meta_optimizer = optax.adam(1e-2)
    # Half of the layouts with the particles of a device at once, the others one after the other.
    particles = "parallel" if devices.count in (4, 8) else "sequential"
    trainer = MetaTrainer(
        [SYSTEM],
        estimator,
        meta_optimizer,
        steps_per_dispatch=meta_steps,
        devices=devices,
        execution=Execution(particles),
    )
    state, records = trainer.step(trainer.init(jax.random.key(0), THETA))
    theta = np.asarray(ravel_pytree(jax.device_get(state.theta))[0])
    return {"theta": theta.tolist(), "grad_norm": float(records["grad_norm"][0])}


def evaluate(devices: Devices) -> dict:
    """Meta-validation with its seeds split."""
    value = meta_validate([SYSTEM], [1.0], HORIZON, THETA, jax.random.key(1), 8, devices)
    return {"meta_valid_loss": value}


def _name(layout: Devices) -> str:
    return f"{layout.backend} {layout.count}"


def main() -> None:
    meta_steps, layouts, *names = int(sys.argv[1]), *sys.argv[2:]
    evaluated = [Devices(1), Devices(8)] if layouts == "few" else []
    if layouts.startswith("processes"):
        _, port, process = layouts.split(":")
        jax.distributed.initialize(f"127.0.0.1:{port}", 2, int(process))
        layouts = evaluated = [Devices(8)]
    elif layouts == "few":
        layouts = [Devices(1), Devices(8), Devices(2, "pmap")]
    else:
        backends = ("shard_map", "pmap")
        layouts = [Devices(1), *(Devices(n, backend) for backend in backends for n in (2, 4, 8))]
    results = {
        name: {_name(layout): meta_train(name, layout, meta_steps) for layout in layouts}
        for name in names
    }
    results["evaluation"] = {_name(layout): evaluate(layout) for layout in evaluated}
    print("RESULTS", json.dumps(results))


if __name__ == "__main__":
    main()
