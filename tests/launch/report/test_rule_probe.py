import numpy as np
import optax
import pytest

from meta_train.figures.update_rule import probe

GRADIENTS = np.asarray([-2.0, 0.0, 1.0])
MOMENTA, SCALE, RATE, DECAY = (-1.0, 0.0, 0.5, 1.0), 0.01, 0.1, 0.9


@pytest.fixture(scope="module")
def steps():
    """Of gradient descent with momentum, which has a closed form."""
    return probe(optax.sgd(RATE, momentum=DECAY), (0, 7), MOMENTA, GRADIENTS, SCALE)


def test_first_step_knows_no_momentum(steps):
    expected = np.broadcast_to(-RATE * SCALE * GRADIENTS, (len(MOMENTA), 3))
    np.testing.assert_allclose(steps[0], expected, rtol=1e-5, atol=1e-9)


def test_later_step_adds_the_momentum(steps):
    past = sum(DECAY**k for k in range(1, 8)) * np.asarray(MOMENTA)[:, None]
    np.testing.assert_allclose(steps[1], -RATE * SCALE * (GRADIENTS + past), rtol=1e-4, atol=1e-8)


def test_probes_have_the_same_second_moment():
    """What rms-scaling divides by does not depend on the momentum."""
    steps = probe(optax.scale_by_rms(decay=0.9), (20,), MOMENTA, GRADIENTS, SCALE)[0]
    assert np.ptp(steps, axis=0).max() < 0.01 * np.abs(steps).max()
