"""Several tasks together: interquartile mean with its uncertainty, and the performance profile.

Losses of different tasks are compared as ratios: an optimizer's mean training loss over that of a
reference on the same task. 1 is as good as the reference, below is better.

References:
    [1] Agarwal, Schwarzer, Castro, Courville & Bellemare 2021, "Deep reinforcement learning at the
        edge of the statistical precipice", https://arxiv.org/abs/2108.13264
    [2] Dolan & More 2002, "Benchmarking optimization software with performance profiles",
        https://arxiv.org/abs/cs/0102001
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

Ratios = Float[np.ndarray, "tasks seeds"]
"""Loss ratios of one optimizer; infinite where a run diverged."""


def iqm(values: Float[np.ndarray, "... n"]) -> Float[np.ndarray, "..."]:
    """Interquartile mean over the last axis: without the lowest and the highest quarter [1].

    Infinite where more than a quarter of the values is.
    """
    from scipy.stats import trim_mean  # slow to import

    return np.asarray(trim_mean(values, 0.25, axis=-1))


def iqm_interval(
    ratios: Ratios, num_samples: int = 2000, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Bootstrap confidence interval of the IQM over all tasks and seeds.

    Tasks are drawn with replacement, and for each drawn task its seeds: the interval is for other
    tasks of the kind as well as for other seeds, and wider than that of [1] for fixed tasks.

    Args:
        ratios: of one optimizer.
        num_samples: bootstrap samples.
        level: probability that the interval is to have.
        seed: of the bootstrap.
    """
    rng = np.random.default_rng(seed)
    num_tasks, num_seeds = ratios.shape
    tasks = rng.integers(num_tasks, size=(num_samples, num_tasks, 1))
    seeds = rng.integers(num_seeds, size=(num_samples, num_tasks, num_seeds))
    values = iqm(ratios[tasks, seeds].reshape(num_samples, -1))
    # Between two infinite values there is no interpolation.
    tail = (1 - level) / 2
    low, high = np.quantile(values, [tail, 1 - tail], method="nearest")
    return float(low), float(high)


def profile(
    mean_losses: Mapping[str, Float[np.ndarray, " tasks"]], taus: Float[np.ndarray, " taus"]
) -> dict[str, Float[np.ndarray, " taus"]]:
    """Performance profile [2]: on which fraction of the tasks an optimizer is near the best.

    Args:
        mean_losses: for every optimizer the mean training loss on each task, all above 0 and in the
            same order of tasks; infinite where it diverged.
        taus: factors, at least 1.

    Returns:
        For every optimizer the fraction of tasks whose loss is within ``tau`` times the lowest that
        any of the optimizers has.
    """
    table = np.stack(list(mean_losses.values()))
    lowest = table.min(axis=0)
    with np.errstate(invalid="ignore"):
        ratios = np.where(np.isfinite(table), table / lowest, np.inf)
    within = ratios[:, :, None] <= np.asarray(taus)[None, None]
    return {name: row.mean(axis=0) for name, row in zip(mean_losses, within, strict=True)}
