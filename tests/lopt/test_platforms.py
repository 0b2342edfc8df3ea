"""Every registered rule on devices that are not here, and with their sizes of blocks."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lopt
from lopt.blocks import ACCELERATOR_BLOCK, CPU_BLOCK, block_size
from tests.lopt.cases import HORIZON, VARIANTS, assert_close, draw_theta, variant_id

SHAPES = {"matrix": (29, 20), "small": (7,)}
"""The first is longer than a CPU's block, and a multiple of neither of the blocks below."""
WIDE = ("adafac_mlp", {"hidden": (9,)})
"""Wide enough for matrix products; the default's network is written out and needs no blocks."""
IN_BLOCKS = ("mlp", "adafac_mlp-(9,)", "lstm", "rnn_mlp")


@pytest.fixture(params=[*VARIANTS, WIDE], ids=variant_id, scope="module")
def update(request):
    """One rule's update as a function of theta, and arguments amid a training."""
    name, fields = request.param
    rule = lopt.LOPTS[name](**fields)
    draw = np.random.default_rng(0).normal
    params, grads = ({k: np.float32(draw(size=n)) for k, n in SHAPES.items()} for _ in range(2))

    def update(theta, grads, state, params):
        return rule.bind(theta, HORIZON).update(grads, state, params, value=jnp.float32(2.0))

    theta = draw_theta(rule)
    # Not zero, so that it matters which part of the state meets which part of the gradient.
    state = jax.tree.map(
        lambda x: np.abs(draw(size=x.shape)).astype(x.dtype),
        jax.eval_shape(rule.bind(theta, HORIZON).init, params),
    )
    return variant_id(request.param), update, (theta, grads, state, params)


def trace(update, args, size):
    with block_size(size):
        return jax.jit(lambda *args: update(*args)).trace(*args)


def test_block_size_does_not_matter(update):
    """Blocks of 16, of a CPU and of an accelerator, which holds every tensor whole."""
    name, update, args = update
    whole = trace(update, args, ACCELERATOR_BLOCK)
    smaller = {size: trace(update, args, size) for size in (16, CPU_BLOCK)}
    if name not in IN_BLOCKS:
        assert {str(blocks.jaxpr) for blocks in smaller.values()} == {str(whole.jaxpr)}
        return
    expected = whole.lower().compile()(*args)
    for size, blocks in smaller.items():
        num_blocks = math.ceil(math.prod(SHAPES["matrix"]) / size)
        assert f"length={num_blocks}" in str(blocks.jaxpr)
        assert_close(blocks.lower().compile()(*args), expected)


@pytest.mark.slow  # the whole meta-step is lowered by default
@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_lowers_for_accelerators(update, platform):
    _, update, args = update
    lowered = trace(update, args, ACCELERATOR_BLOCK).lower(lowering_platforms=(platform,))
    assert lowered.out_info == jax.eval_shape(update, *args)
