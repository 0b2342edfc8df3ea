"""A part of the training examples, some with wrong targets: how much there is to memorise.

It is a few scalars, so that one compiled program serves every amount of data and every noise.
"""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Num, UInt, UInt32


@flax.struct.dataclass
class Subset:
    """The examples that training draws from; "valid" and "test" stay whole and clean.

    Attributes:
        first: uint32 [], place of the first example in the train split, which wraps around.
        count: uint32 [], number of examples; more than the split has are all of it.
        noise: float32 [], for classes the probability that an example has a wrong one, each other
            class as likely; for numbers the standard deviation of what is added.
        salt: uint32 [], decides which examples are wrong, and how: the same ones at every step.
    """

    first: Any
    count: Any
    noise: Any
    salt: Any

    def places(self, words: UInt32[Array, " b"], size: np.uint32) -> UInt32[Array, " b"]:
        """Places below ``size``, the length of the split, from random words; traced."""
        return (self.first % size + words % jnp.minimum(self.count, size)) % size

    def noisy(
        self, targets: Num[Array, " b"], index: UInt[Array, " b"], num_classes: int | None
    ) -> Num[Array, " b"]:
        """The targets with the noise of their examples; traced.

        Args:
            targets: int32 classes or float32 numbers.
            index: rows of the examples.
            num_classes: None where the targets are numbers.
        """
        word = _mix(index ^ self.salt)
        uniform = ((word >> 8).astype(jnp.float32) + 0.5) * np.float32(2**-24)
        if num_classes is None:
            return targets + self.noise * jax.scipy.special.ndtri(uniform)
        shift = 1 + _mix(word) % np.uint32(num_classes - 1)
        wrong = (targets + shift.astype(jnp.int32)) % num_classes
        return jnp.where(uniform < self.noise, wrong, targets)


def _mix(x: UInt32[Array, " b"]) -> UInt32[Array, " b"]:
    """A 32-bit hash, "lowbias32": C. Wellons 2018, "Prospecting for Hash Functions"."""
    x = (x ^ (x >> 16)) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * np.uint32(0x846CA68B)
    return x ^ (x >> 16)
