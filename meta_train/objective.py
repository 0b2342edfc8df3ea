"""The meta-objective: what one inner step of training a task contributes to J."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float

KINDS = ("mean", "final")
SPLITS = ("train", "valid", "mixed")
MEASURES = ("loss", "error")


@dataclasses.dataclass(frozen=True)
class MetaObjective:
    """How the inner losses of an episode become its meta-loss.

    Args:
        kind: "mean", the mean of the inner losses over the episode, or "final", the inner loss
            after the last step. The latter is written as a sum over steps, T (L_t - L_{t-1})
            with T of the episode and L_0 = 0 [1, eq. 6], so that truncated estimators work on it
            too; its L_t is measured on one batch per episode, so that the batch's noise cancels.
            Where T is random, the estimator's ``mean_over = "episodes"`` makes J the mean of the
            last losses; "steps" weighs them by T.
        split: "train", for "mean" the loss of each training batch before the step taken on it,
            which costs nothing; "valid", the loss on validation data after the step, of the
            parameters' average where the optimizer keeps one; or "mixed", for "mean" alone, both.
        valid_weight: share of the validation loss in "mixed".
        measure: "loss", the task's; or "error", one minus its metric "accuracy", after the step,
            which has no derivatives: for estimators that need none. Not for "mixed".
        clip: bound on an inner loss, as a multiple of the loss at initialisation (where that is
            not positive: its magnitude above it); None for no bound. It keeps a particle that
            grows without limit from outweighing all others; a loss that is not finite is left
            as it is, for the estimator to drop its pair.
        normalize: divide by the loss at initialisation, so that tasks of different units can
            be weighed against each other.

    References:
        [1] Vicol, Kolter and Swersky, arXiv:2304.11153.
    """

    kind: str = "mean"
    split: str = "train"
    clip: float | None = 2.0
    normalize: bool = False
    valid_weight: float = 0.5
    measure: str = "loss"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"objective.kind = {self.kind!r}; known: {', '.join(KINDS)}.")
        if self.split not in SPLITS:
            raise ValueError(f"objective.split = {self.split!r}; known: {', '.join(SPLITS)}.")
        if self.measure not in MEASURES:
            raise ValueError(f"objective.measure = {self.measure!r}; known: {', '.join(MEASURES)}.")
        if self.split == "mixed" and self.measure == "error":
            raise ValueError('objective.measure = "error" goes with "train" and "valid" alone.')
        if self.split == "mixed" and self.kind == "final":
            raise ValueError('objective.split = "mixed" goes with objective.kind = "mean" alone.')
        if not 0 <= self.valid_weight <= 1:
            raise ValueError(
                f"objective.valid_weight = {self.valid_weight} must be between 0 and 1."
            )
        if self.clip is not None and not self.clip >= 1:
            raise ValueError(
                f"objective.clip = {self.clip} must be at least 1, the loss at initialisation, "
                "or None for no bound."
            )

    @property
    def uses_training_loss(self) -> bool:
        """Whether the loss that the inner step computes anyway is the one asked for."""
        return (self.kind, self.split, self.measure) == ("mean", "train", "loss")

    def apply(self, loss: Float[Array, ""], first_loss: Float[Array, ""]) -> Float[Array, ""]:
        """Bound and normalise one inner loss, given the loss at initialisation."""
        magnitude = jnp.abs(first_loss)
        if self.clip is not None:
            bound = first_loss + (self.clip - 1) * magnitude
            loss = jnp.where(jnp.isfinite(loss), jnp.minimum(loss, bound), loss)
        if self.normalize:
            loss = loss / jnp.maximum(magnitude, jnp.finfo(loss.dtype).tiny)
        return loss
