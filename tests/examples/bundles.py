"""Bundles for the examples: none is meta-trained, which would take too long here."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import lopt

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def random_bundle(path, name):
    """An optimizer that moves somewhere, with every meta-parameter away from zero."""
    rule = lopt.LOPTS[name](step_mult=0.01)
    draw = np.random.default_rng(1)
    theta = jax.tree.map(
        lambda x: x + jnp.asarray(0.02 * draw.normal(size=x.shape), jnp.float32),
        rule.init(jax.random.key(0)),
    )
    lopt.save(path, rule, theta, card={"horizon": 1000})
    return path


def descending_bundle(path, name):
    """An optimizer whose step is against a momentum, divided by its root mean square.

    The first two units of every layer carry the momentum's positive and its negative part.
    """
    rule = lopt.LOPTS[name](hidden=(4, 4), step_mult=0.01)
    theta = jax.tree.map(jnp.zeros_like, rule.init(jax.random.key(0)))
    carry = jnp.array([1.0, -1.0])
    net = theta["mlp"]
    net["w0"] = net["w0"].at[4 if name == "mlp" else 2, :2].set(carry)
    net["w1"] = net["w1"].at[:2, :2].set(carry[:, None] * carry[None])
    net["w2"] = net["w2"].at[:2, 0].set(carry)
    lopt.save(path, rule, theta, card={"horizon": 1000})
    return path
