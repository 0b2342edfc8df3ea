"""How far float32 results may lie apart that are the same up to the order of their sums."""

import numpy as np


def of_sum(num_terms: int) -> float:
    """Largest error of a float32 sum in any order, as a share of the sum of absolute values.

    A sum of n terms rounds n - 1 times; some more roundings make each of its terms, and a mean of
    it. (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 4.2.)
    """
    roundings = num_terms + 10
    return roundings * float(np.finfo(np.float32).eps) / 2
