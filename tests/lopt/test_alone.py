"""Somebody else's project: only ``lopt`` is there, and loads a bundle for sharded parameters."""

import os
import subprocess
import sys
from pathlib import Path

from tests.examples.bundles import descending_bundle

ROOT = Path(__file__).resolve().parents[2]
OURS = ("tasks", "meta_train", "checkpoints", "configs", "launch", "tests")
PROGRAM = """
import sys

import lopt

import jax

assert not jax.live_arrays(), "import created arrays"
others = {"tensorflow", "flax"} & {name.split(".")[0] for name in sys.modules}
assert not others, others

import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jax.sharding import AxisType, NamedSharding, PartitionSpec

mesh = jax.make_mesh((2, 4), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
model = nn.Sequential([nn.Dense(64), nn.relu, nn.Dense(8)])
draw = np.random.default_rng(0)
images = draw.normal(size=(64, 16)).astype(np.float32)
labels = np.argmax(images @ draw.normal(size=(16, 8)), axis=1)
tx = lopt.load("bundle", num_steps=40)


def step(params, state, images, labels):
    def loss_of(params):
        logits = model.apply({"params": params}, images)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    loss, grads = jax.value_and_grad(loss_of)(params)
    updates, state = tx.update(grads, state, params, value=loss)
    return optax.apply_updates(params, updates), state, loss


def train(step, params, state, *batch):
    losses = []
    for _ in range(40):
        params, state, loss = step(params, state, *batch)
        losses.append(float(loss))
    return params, state, losses


def sharding(*axes):
    return NamedSharding(mesh, PartitionSpec(*axes))


params = model.init(jax.random.key(0), images)["params"]
_, _, alone = train(jax.jit(step), params, tx.init(params), images, labels)
where = {
    "layers_0": {"kernel": sharding(None, "model"), "bias": sharding("model")},
    "layers_2": {"kernel": sharding("model", None), "bias": sharding()},
}
params = jax.device_put(params, where)
where_state = lopt.state_sharding(tx, params)
state = jax.jit(tx.init, out_shardings=where_state)(params)
batch = jax.device_put((images, labels), sharding("data"))
sharded_step = jax.jit(step, donate_argnums=(0, 1), out_shardings=(where, where_state, None))
params, after, losses = train(sharded_step, params, state, *batch)

assert losses[-1] < 0.5 * losses[0], losses
# In each of 40 steps sums of 64 terms may be in another order.
np.testing.assert_allclose(losses, alone, rtol=40 * 64 * 2.0**-23)
assert sharded_step._cache_size() == 1
kernel, momenta = params["layers_0"]["kernel"], after.momenta["layers_0"]["kernel"]
assert kernel.sharding.is_equivalent_to(sharding(None, "model"), 2), kernel.sharding
assert momenta.sharding.is_equivalent_to(sharding(None, None, "model"), 3), momenta.sharding
assert momenta.addressable_shards[0].data.shape == (6, 16, 16)
imported = {name.split(".")[0] for name in sys.modules} & set(sys.argv[2:])
assert not imported, imported
print(jax.device_count(), losses[0], losses[-1])
"""


def test_import_is_cheap_and_a_bundle_trains_a_sharded_flax_model(tmp_path):
    project, packages = tmp_path / "project", tmp_path / "packages"
    project.mkdir()
    packages.mkdir()
    (packages / "lopt").symlink_to(ROOT / "lopt")
    for name in OURS:
        (project / f"{name}.py").write_text(f"raise RuntimeError('{name} was imported')\n")
    descending_bundle(project / "bundle", "mlp")
    (project / "program.py").write_text(PROGRAM)
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=8"
    done = subprocess.run(
        [sys.executable, "program.py", "--unknown-flag", *OURS],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(packages), "XLA_FLAGS": flags},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("8 ")
