"""Initial parameters have the scales that they promise."""

import jax
import numpy as np
import pytest

from tasks.networks import draw_kernels, scale_kernels

SHAPES = {
    "Conv_0": {"kernel": (3, 3, 16, 32), "bias": (32,)},
    "Embedding_0": {"embedding": (40, 100)},
    "Outer": {"GroupNorm_0": {"scale": (7,), "bias": (7,)}, "Dense_0": {"kernel": (25, 200)}},
}


@pytest.fixture(scope="module")
def params():
    shapes = jax.tree.map(
        lambda shape: jax.ShapeDtypeStruct(shape, np.float32),
        SHAPES,
        is_leaf=lambda x: isinstance(x, tuple),
    )
    return scale_kernels(draw_kernels(jax.random.key(0), shapes), 2.0)


def test_structure_and_constants(params):
    found = jax.tree.map(lambda x: x.shape, params)
    assert found == SHAPES
    np.testing.assert_array_equal(params["Conv_0"]["bias"], np.zeros(32))
    np.testing.assert_array_equal(params["Outer"]["GroupNorm_0"]["scale"], np.ones(7))
    np.testing.assert_array_equal(params["Outer"]["GroupNorm_0"]["bias"], np.zeros(7))


def test_scales_follow_the_fan_in(params):
    drawn = (
        (params["Conv_0"]["kernel"], 3 * 3 * 16),
        (params["Embedding_0"]["embedding"], 100),
        (params["Outer"]["Dense_0"]["kernel"], 25),
    )
    for values, fan_in in drawn:
        np.testing.assert_allclose(np.std(values), 2 / np.sqrt(fan_in), rtol=0.05)
        assert abs(np.mean(values)) < 0.1 / np.sqrt(fan_in)


def test_no_two_kernels_share_their_draw(params):
    conv, dense = params["Conv_0"]["kernel"], params["Outer"]["Dense_0"]["kernel"]
    first = np.asarray(conv).ravel()[:4600] * 12
    assert abs(np.corrcoef(first, np.asarray(dense).ravel()[:4600])[0, 1]) < 0.06
