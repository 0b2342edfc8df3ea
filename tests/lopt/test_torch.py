"""The PyTorch optimizer takes the steps of the JAX one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lopt
from tests.examples.bundles import random_bundle

torch = pytest.importorskip("torch", reason="torch is an optional extra: pip install lopt[torch]")
from lopt.torch import LearnedOptimizer  # noqa: E402

torch.set_num_threads(1)
STEPS = 60
SHAPES = {"scalar": (), "bias": (5,), "kernel": (3, 1, 2, 3), "wide": (40, 30)}


def recorded():
    """Parameters, and gradients of many sizes for every step, zeros among them."""
    draw = np.random.default_rng(0)

    def leaf(shape, scale):
        return np.asarray(scale * draw.normal(size=shape), np.float32)

    scales = 10.0 ** draw.uniform(-6, 2, STEPS)
    scales[20] = 0.0
    params = {name: leaf(shape, 0.01) for name, shape in SHAPES.items()}
    return params, [{k: leaf(s, scale) for k, s in SHAPES.items()} for scale in scales]


@functools.partial(jax.jit, static_argnums=0)
def unroll(tx, params, grads, values):
    """Parameters after every step, and their averages."""

    def body(carry, xs):
        (params, state), (grads, value) = carry, xs
        updates, state = tx.update(grads, state, params, value=value)
        params = optax.apply_updates(params, updates)
        return (params, state), (params, lopt.evaluation_params(state, params))

    return jax.lax.scan(body, (params, tx.init(params)), (grads, values))[1]


@pytest.mark.parametrize("name", ["mlp", "adafac_mlp"])
def test_same_steps_as_in_jax(name, tmp_path):
    bundle = random_bundle(tmp_path / name, name)
    params, grads = recorded()
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *grads)
    tx = lopt.load(bundle)
    expected = jax.device_get(unroll(tx, params, stacked, jnp.zeros(STEPS))[0])
    found = {key: torch.nn.Parameter(torch.tensor(x)) for key, x in params.items()}
    optimizer = LearnedOptimizer(found.values(), bundle)
    errors = dict.fromkeys(found, 0.0)
    for i, grad in enumerate(grads):
        give(found, grad)
        optimizer.step()
        for key, param in found.items():
            error = np.abs(param.detach().numpy() - expected[key][i]).max()
            errors[key] = max(errors[key], error)
    for key, start in params.items():
        assert errors[key] <= 1e-6 * np.abs(expected[key] - start).max(), key


def inputs_first(x):
    """As JAX's layers have it; the outputs come first in PyTorch."""
    return np.moveaxis(x, 0, -1) if np.ndim(x) > 1 else x


@pytest.mark.parametrize(("horizon", "longer"), [(40, 1), (200, 1), (40, 30)])
def test_same_steps_as_in_jax_schedule_free(horizon, longer, tmp_path):
    bundle = free_bundle(tmp_path / "b", longer)
    params, grads = recorded()
    values = np.asarray(np.linspace(3, 1, STEPS) + np.sin(np.arange(STEPS)), np.float32)
    values[10] = np.nan
    stacked = jax.tree.map(lambda *x: jnp.stack([inputs_first(y) for y in x]), *grads)
    start = jax.tree.map(inputs_first, params)
    tx = lopt.load(bundle, horizon)
    expected, averages = jax.device_get(unroll(tx, start, stacked, values))
    found = {key: torch.nn.Parameter(torch.tensor(x)) for key, x in params.items()}
    optimizer = LearnedOptimizer(found.values(), bundle, horizon)
    for i, (grad, value) in enumerate(zip(grads, values, strict=True)):
        give(found, grad)
        optimizer.step(value=value)
        for key, param in found.items():
            assert_near(param, expected[key], i, start[key], 1e-3)
    trained = {key: param.detach().clone() for key, param in found.items()}
    with optimizer.evaluation():
        for key, param in found.items():
            assert_near(param, averages[key], STEPS - 1, start[key], 1e-3)
            assert not torch.equal(param, trained[key])
    assert all(torch.equal(param, trained[key]) for key, param in found.items())


def assert_near(param, expected, i, start, tolerance=1e-5):
    """After step i, up to rounding: a fraction of the way so far."""
    way = np.abs(expected[: i + 1] - start).max()
    error = np.abs(inputs_first(param.detach().numpy()) - expected[i]).max()
    assert error <= tolerance * way, (i, error / way)


def free_bundle(path, longer=1, **fields):
    """``schedule_free_mlp`` without its network, with every meta-parameter away from zero.

    Steps that are 30 times longer are too long, and cut.
    """
    rule = lopt.LOPTS["schedule_free_mlp"](hidden=(), **fields)
    draw = np.random.default_rng(3)
    theta = jax.tree.map(
        lambda x: jnp.asarray(0.05 * draw.normal(size=x.shape), jnp.float32),
        rule.init(jax.random.key(0)),
    )
    scalars = theta["scalars"]
    scalars["step_size"] = scalars["step_size"].at[0].add(jnp.log(longer) / 5)
    lopt.save(path, rule, theta, card={"horizon": 1000})
    return path


def test_schedule_free_rules_that_are_refused(tmp_path):
    rule = lopt.LOPTS["schedule_free_mlp"](hidden=(4,))
    lopt.save(tmp_path / "net", rule, rule.init(jax.random.key(0)), card={"horizon": 9})
    params = [torch.nn.Parameter(torch.ones(2))]
    with pytest.raises(ValueError, match="without the network"):
        LearnedOptimizer(params, tmp_path / "net")
    rule = lopt.LOPTS["schedule_free_mlp"](hidden=())
    lopt.save(tmp_path / "b", rule, rule.init(jax.random.key(0)))
    with pytest.raises(ValueError, match="num_steps"):
        LearnedOptimizer(params, tmp_path / "b")


def give(params, grads):
    for key, param in params.items():
        param.grad = torch.tensor(grads[key], dtype=param.dtype)


def train(bundle, grads, dtype=torch.float32):
    """Parameters and optimizer after these gradients."""
    params = {key: torch.nn.Parameter(torch.ones(SHAPES[key], dtype=dtype)) for key in SHAPES}
    optimizer = LearnedOptimizer(params.values(), bundle)
    for grad in grads:
        give(params, grad)
        optimizer.step()
    return params, optimizer


@pytest.mark.parametrize("name", ["mlp", "adafac_mlp", "schedule_free_mlp"])
def test_state_dict_goes_on(name, tmp_path):
    is_free = name == "schedule_free_mlp"
    bundle = free_bundle(tmp_path / name) if is_free else random_bundle(tmp_path / name, name)
    grads = recorded()[1][:6]
    expected, _ = train(bundle, grads)
    found, first = train(bundle, grads[:3])
    second = LearnedOptimizer(found.values(), bundle)
    second.load_state_dict(first.state_dict())
    for grad in grads[3:]:
        give(found, grad)
        second.step()
    for key in SHAPES:
        assert torch.equal(found[key], expected[key])


def test_manners_of_torch(tmp_path):
    bundle = random_bundle(tmp_path / "b", "adafac_mlp")
    params, optimizer = train(bundle, recorded()[1][:3], dtype=torch.bfloat16)
    assert all(param.dtype == torch.bfloat16 for param in params.values())
    assert all(x["momenta"].dtype == torch.float32 for x in optimizer.state.values())
    assert all(bool(torch.isfinite(param).all()) for param in params.values())
    before = params["wide"].detach().clone()
    optimizer.zero_grad()
    optimizer.step()  # nothing has a gradient
    assert torch.equal(params["wide"], before)

    params, optimizer = train(bundle, recorded()[1][:1])
    before = params["wide"].detach().clone()

    def closure():
        optimizer.zero_grad()
        loss = params["wide"].square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure) > 0
    assert not torch.equal(params["wide"], before)
    assert len(optimizer.state[params["wide"]]) == 5


def test_refused_bundles(tmp_path):
    params = [torch.nn.Parameter(torch.ones(2))]
    bundle = random_bundle(tmp_path / "b", "mlp")
    good = (bundle / "theta.safetensors").read_bytes()
    (bundle / "theta.safetensors").write_bytes(good[:-1] + b"x")
    with pytest.raises(ValueError, match="damaged"):
        LearnedOptimizer(params, bundle)
    (bundle / "theta.safetensors").unlink()
    with pytest.raises(ValueError, match="not a bundle"):
        LearnedOptimizer(params, bundle)
    rule = lopt.LOPTS["lstm"]()
    lopt.save(tmp_path / "lstm", rule, rule.init(jax.random.key(0)))
    with pytest.raises(ValueError, match="holds a LSTMLopt, but"):
        LearnedOptimizer(params, tmp_path / "lstm")


def test_a_shipped_bundle_by_its_name():
    param = torch.nn.Parameter(torch.ones(4, 3))
    optimizer = LearnedOptimizer([param], "general", num_steps=30)
    for _ in range(30):
        optimizer.zero_grad()
        loss = param.square().sum()
        loss.backward()
        optimizer.step(value=loss)
    with optimizer.evaluation():
        assert float(param.square().sum().detach()) < 1.0
