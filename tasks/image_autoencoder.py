"""Images coded and decoded by MLPs: an autoencoder and a variational one.

The variational autoencoder [1] codes an image x by a normal q(z | x) with diagonal covariance and
decodes z to Bernoulli probabilities, one per value of the image, which stand for intensities
between 0 and 1. Its loss is the negative evidence lower bound per value, in nats,

    (E_q[-log p(x | z)] + KL(q(z | x) || N(0, I))) / d,

with one draw of z per image. [1] Kingma and Welling 2014, arXiv:1312.6114.
"""

import os
from collections.abc import Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tasks.base import Task
from tasks.checks import check_choice, check_int, check_ints, check_number
from tasks.datasets import Dataset
from tasks.image_classifier import load_images
from tasks.networks import ACTIVATIONS, MLP, draw_kernels, parameter_shapes, scale_kernels


@flax.struct.dataclass
class ImageAutoencoder(Task):
    """Images through a narrow code; loss is the squared error per value of normalised images.

    A loss of 1 is that of a grey image.

    Attributes:
        data: the images; its leaves enter a jitted program as arguments.
        encoder: images [B, d] to codes [B, latent].
        decoder: codes [B, latent] to images [B, d].
        batch_size: examples per batch, B, drawn with replacement.
        init_scale: initial kernels are normal with std init_scale / sqrt(fan_in); biases zero.
    """

    data: Dataset
    encoder: MLP = flax.struct.field(pytree_node=False)
    decoder: MLP = flax.struct.field(pytree_node=False)
    batch_size: int = flax.struct.field(pytree_node=False)
    init_scale: float = flax.struct.field(pytree_node=False)

    def init(self, key: jax.Array, cfg: tuple[()]) -> dict[str, Any]:
        del cfg
        return _draw(key, self.encoder, self.decoder, self.encoder.num_outputs, self.init_scale)

    def loss(
        self, key: jax.Array, cfg: tuple[()], params: dict[str, Any], batch: dict[str, Array]
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        del key, cfg
        code: Any = self.encoder.apply({"params": params["encoder"]}, batch["image"])
        decoded: Any = self.decoder.apply({"params": params["decoder"]}, code)
        return jnp.mean(jnp.square(decoded - batch["image"])), {}

    def batch(self, key: jax.Array, cfg: tuple[()], split: str) -> dict[str, Array]:
        """Normalised images {"image": [B, h * w * c]}."""
        del cfg
        return {"image": self.data.draw(key, split, self.batch_size)[0]}


@flax.struct.dataclass
class ImageVAE(Task):
    """A variational autoencoder; loss is the negative ELBO in nats per value of an image.

    The metrics "reconstruction" and "kl" are its two terms.

    Attributes:
        data: the images; its leaves enter a jitted program as arguments.
        encoder: images [B, d] to means and log-variances of the code, side by side [B, 2 latent].
        decoder: codes [B, latent] to logits of the intensities [B, d].
        peak: stored value of an image that stands for intensity 1.
        batch_size: examples per batch, B, drawn with replacement.
        init_scale: initial kernels are normal with std init_scale / sqrt(fan_in); biases zero.
    """

    data: Dataset
    encoder: MLP = flax.struct.field(pytree_node=False)
    decoder: MLP = flax.struct.field(pytree_node=False)
    peak: int = flax.struct.field(pytree_node=False)
    batch_size: int = flax.struct.field(pytree_node=False)
    init_scale: float = flax.struct.field(pytree_node=False)

    def init(self, key: jax.Array, cfg: tuple[()]) -> dict[str, Any]:
        del cfg
        latent = self.encoder.num_outputs // 2
        return _draw(key, self.encoder, self.decoder, latent, self.init_scale)

    def loss(
        self, key: jax.Array, cfg: tuple[()], params: dict[str, Any], batch: dict[str, Array]
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        """Negative ELBO per value; ``key`` draws the codes."""
        del cfg
        image = batch["image"]
        coded: Any = self.encoder.apply({"params": params["encoder"]}, image)
        mean, log_variance = jnp.split(coded, 2, axis=-1)
        noise = jax.random.normal(key, mean.shape, jnp.float32)
        code = mean + jnp.exp(0.5 * log_variance) * noise
        logits: Any = self.decoder.apply({"params": params["decoder"]}, code)
        intensity = (image - self.data.offset[None]) / (self.data.scale[None] * self.peak)
        reconstruction = jnp.mean(jax.nn.softplus(logits) - intensity * logits)
        kl = jnp.mean(kl_from_standard_normal(mean, log_variance)) / image.shape[-1]
        return reconstruction + kl, {"reconstruction": reconstruction, "kl": kl}

    def batch(self, key: jax.Array, cfg: tuple[()], split: str) -> dict[str, Array]:
        """Normalised images {"image": [B, h * w * c]}."""
        del cfg
        return {"image": self.data.draw(key, split, self.batch_size)[0]}


def kl_from_standard_normal(
    mean: Float[Array, "batch latent"], log_variance: Float[Array, "batch latent"]
) -> Float[Array, " batch"]:
    """KL(N(mean, exp(log_variance)) || N(0, I)) of diagonal normals, in nats."""
    terms = jnp.exp(log_variance) + jnp.square(mean) - 1 - log_variance
    return 0.5 * jnp.sum(terms, axis=-1)


def image_autoencoder(
    dataset: str,
    hidden: Sequence[int] = (64,),
    latent: int = 8,
    activation: str = "relu",
    image_size: int | None = None,
    batch_size: int = 64,
    init_scale: float = 1.0,
    data_seed: int = 0,
    data_dir: str | os.PathLike | None = None,
) -> ImageAutoencoder:
    """Autoencoder of MLPs over images; squared error per value.

    Args:
        dataset: a name in ``tasks.DATASETS``.
        hidden: widths of the encoder's hidden layers; the decoder has them in reverse.
        latent: width of the code.
        activation: a name in ``tasks.ACTIVATIONS``.
        image_size: side to which images are averaged down, in pixels; None keeps them.
        batch_size: examples per batch.
        init_scale: initial kernels have std init_scale / sqrt(fan_in).
        data_seed: another seed deals the splits anew.
        data_dir: TFDS data folder; None takes $TFDS_DATA_DIR or ~/tensorflow_datasets.

    Raises:
        ValueError: a value is out of range or a name unknown.
        MissingData: the data set is not prepared.
    """
    widths = _check(hidden, latent, activation)
    init_scale = check_number("init_scale", init_scale, 0.0)
    data = load_images(dataset, image_size, data_seed, data_dir, batch_size)
    encoder = MLP(widths, latent, activation)
    decoder = MLP(widths[::-1], data.images.shape[-1], activation)
    return ImageAutoencoder(data, encoder, decoder, batch_size, init_scale)


def image_vae(
    dataset: str,
    hidden: Sequence[int] = (64,),
    latent: int = 8,
    activation: str = "relu",
    image_size: int | None = None,
    batch_size: int = 64,
    init_scale: float = 1.0,
    data_seed: int = 0,
    data_dir: str | os.PathLike | None = None,
) -> ImageVAE:
    """Variational autoencoder of MLPs over images; negative ELBO in nats per value.

    Args:
        dataset: a name in ``tasks.DATASETS``.
        hidden: widths of the encoder's hidden layers; the decoder has them in reverse.
        latent: width of the code.
        activation: a name in ``tasks.ACTIVATIONS``.
        image_size: side to which images are averaged down, in pixels; None keeps them.
        batch_size: examples per batch.
        init_scale: initial kernels have std init_scale / sqrt(fan_in).
        data_seed: another seed deals the splits anew.
        data_dir: TFDS data folder; None takes $TFDS_DATA_DIR or ~/tensorflow_datasets.

    Raises:
        ValueError: a value is out of range or a name unknown.
        MissingData: the data set is not prepared.
    """
    widths = _check(hidden, latent, activation)
    init_scale = check_number("init_scale", init_scale, 0.0)
    data = load_images(dataset, image_size, data_seed, data_dir, batch_size)
    encoder = MLP(widths, 2 * latent, activation)
    decoder = MLP(widths[::-1], data.images.shape[-1], activation)
    peak = max(1, int(jnp.max(data.images)))
    return ImageVAE(data, encoder, decoder, peak, batch_size, init_scale)


def _check(hidden: Sequence[int], latent: int, activation: str) -> tuple[int, ...]:
    check_int("latent", latent, 1)
    check_choice("activation", activation, ACTIVATIONS)
    return check_ints("hidden", hidden, 1)


def _draw(
    key: jax.Array, encoder: MLP, decoder: MLP, latent: int, init_scale: float
) -> dict[str, Any]:
    """Initial parameters {"encoder": ..., "decoder": ...}."""
    image = jax.ShapeDtypeStruct((1, decoder.num_outputs), jnp.float32)
    code = jax.ShapeDtypeStruct((1, latent), jnp.float32)
    shapes = {
        "encoder": parameter_shapes(encoder, image),
        "decoder": parameter_shapes(decoder, code),
    }
    return scale_kernels(draw_kernels(key, shapes), init_scale)
