"""Learning rates of a meta-optimizer over meta-steps."""

from collections.abc import Callable

import optax

DECAYS: dict[str, Callable[[float, int, float], optax.Schedule]] = {
    "constant": lambda peak, steps, fraction: optax.constant_schedule(peak),
    "cosine": optax.cosine_decay_schedule,
    "linear": lambda peak, steps, fraction: optax.linear_schedule(peak, peak * fraction, steps),
    "exponential": optax.exponential_decay,
}
"""By name: from the peak, the number of meta-steps and the fraction that is left at their end."""


def warmed_up(
    name: str, peak: float, meta_steps: int, warmup_fraction: float, final_fraction: float
) -> optax.Schedule:
    """A linear rise, then constant or down to a fraction of the peak.

    Always a function, so that the meta-optimizer's state has the same arrays for every length of
    the run, and a checkpoint fits after it was changed.

    Args:
        name: one of ``DECAYS``.
        peak: the highest learning rate.
        meta_steps: the meta-step at which the final value is reached.
        warmup_fraction: part of the meta-steps in which it rises from 0.
        final_fraction: part of the peak that is left in the end.

    Raises:
        ValueError: an exponential decay is to end at 0.
    """
    if name == "exponential" and final_fraction == 0:
        raise ValueError(
            "final_fraction = 0 is out of reach of an exponential decay; give a value above 0"
        )
    warmup = int(warmup_fraction * meta_steps)
    decay = DECAYS[name](peak, meta_steps - warmup, final_fraction)
    if not warmup:
        return decay
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), decay], [warmup])
