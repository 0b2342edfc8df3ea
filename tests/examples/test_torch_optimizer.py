"""The PyTorch optimizer takes the steps of the JAX one."""

import importlib.util
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lopt
from tests.examples.bundles import EXAMPLES, random_bundle

torch = pytest.importorskip("torch", reason="torch is an optional extra: pip install lopt[torch]")
torch.set_num_threads(1)
STEPS = 60
SHAPES = {"scalar": (), "bias": (5,), "kernel": (3, 1, 2, 3), "wide": (40, 30)}


@pytest.fixture(scope="module")
def torch_optimizer():
    spec = importlib.util.spec_from_file_location(
        "torch_optimizer", EXAMPLES / "torch_optimizer.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def recorded():
    """Parameters, and gradients of many sizes for every step, zeros among them."""
    draw = np.random.default_rng(0)

    def leaf(shape, scale):
        return np.asarray(scale * draw.normal(size=shape), np.float32)

    scales = 10.0 ** draw.uniform(-6, 2, STEPS)
    scales[20] = 0.0
    params = {name: leaf(shape, 0.01) for name, shape in SHAPES.items()}
    return params, [{k: leaf(s, scale) for k, s in SHAPES.items()} for scale in scales]


@pytest.mark.parametrize("name", ["mlp", "adafac_mlp"])
def test_same_steps_as_in_jax(name, torch_optimizer, tmp_path):
    bundle = random_bundle(tmp_path / name, name)
    params, grads = recorded()
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *grads)
    tx = lopt.load(bundle)

    @jax.jit
    def unroll(params, stacked):
        def body(carry, grads):
            params, state = carry
            updates, state = tx.update(grads, state, params)
            params = optax.apply_updates(params, updates)
            return (params, state), params

        return jax.lax.scan(body, (params, tx.init(params)), stacked)[1]

    expected = jax.device_get(unroll(params, stacked))
    found = {key: torch.nn.Parameter(torch.tensor(x)) for key, x in params.items()}
    optimizer = torch_optimizer.LearnedOptimizer(found.values(), bundle)
    errors = dict.fromkeys(found, 0.0)
    for i, grad in enumerate(grads):
        give(found, grad)
        optimizer.step()
        for key, param in found.items():
            error = np.abs(param.detach().numpy() - expected[key][i]).max()
            errors[key] = max(errors[key], error)
    for key, start in params.items():
        assert errors[key] <= 1e-6 * np.abs(expected[key] - start).max(), key


def give(params, grads):
    for key, param in params.items():
        param.grad = torch.tensor(grads[key], dtype=param.dtype)


def train(torch_optimizer, bundle, grads, dtype=torch.float32):
    """Parameters and optimizer after these gradients."""
    params = {key: torch.nn.Parameter(torch.ones(SHAPES[key], dtype=dtype)) for key in SHAPES}
    optimizer = torch_optimizer.LearnedOptimizer(params.values(), bundle)
    for grad in grads:
        give(params, grad)
        optimizer.step()
    return params, optimizer


@pytest.mark.parametrize("name", ["mlp", "adafac_mlp"])
def test_state_dict_goes_on(name, torch_optimizer, tmp_path):
    bundle = random_bundle(tmp_path / name, name)
    grads = recorded()[1][:6]
    expected, _ = train(torch_optimizer, bundle, grads)
    found, first = train(torch_optimizer, bundle, grads[:3])
    second = torch_optimizer.LearnedOptimizer(found.values(), bundle)
    second.load_state_dict(first.state_dict())
    for grad in grads[3:]:
        give(found, grad)
        second.step()
    for key in SHAPES:
        assert torch.equal(found[key], expected[key])


def test_manners_of_torch(torch_optimizer, tmp_path):
    bundle = random_bundle(tmp_path / "b", "adafac_mlp")
    params, optimizer = train(torch_optimizer, bundle, recorded()[1][:3], dtype=torch.bfloat16)
    assert all(param.dtype == torch.bfloat16 for param in params.values())
    assert all(x["momenta"].dtype == torch.float32 for x in optimizer.state.values())
    assert all(bool(torch.isfinite(param).all()) for param in params.values())
    before = params["wide"].detach().clone()
    optimizer.zero_grad()
    optimizer.step()  # nothing has a gradient
    assert torch.equal(params["wide"], before)

    params, optimizer = train(torch_optimizer, bundle, recorded()[1][:1])
    before = params["wide"].detach().clone()

    def closure():
        optimizer.zero_grad()
        loss = params["wide"].square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure) > 0
    assert not torch.equal(params["wide"], before)
    assert len(optimizer.state[params["wide"]]) == 5


def test_refused_bundles(torch_optimizer, tmp_path):
    bundle = random_bundle(tmp_path / "b", "mlp")
    good = (bundle / "theta.safetensors").read_bytes()
    (bundle / "theta.safetensors").write_bytes(good[:-1] + b"x")
    with pytest.raises(ValueError, match="damaged"):
        torch_optimizer.read_bundle(bundle)
    (bundle / "theta.safetensors").unlink()
    with pytest.raises(ValueError, match="no bundle"):
        torch_optimizer.read_bundle(bundle)
    (bundle / "theta.safetensors").write_bytes(good)
    config = json.loads((bundle / "config.json").read_text())
    old = {**config, "format_version": 2, "theta_sha256": config["weights_sha256"]}
    (bundle / "config.json").write_text(json.dumps(old))
    torch_optimizer.read_bundle(bundle)
    for change in ({"name": "lstm"}, {"feature_version": 2}):
        edited = {**config, "optimizer": {**config["optimizer"], **change}}
        (bundle / "config.json").write_text(json.dumps(edited))
        with pytest.raises(ValueError, match="holds"):
            torch_optimizer.read_bundle(bundle)
    (bundle / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="no bundle"):
        torch_optimizer.read_bundle(bundle)
