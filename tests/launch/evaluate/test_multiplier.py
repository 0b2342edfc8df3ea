"""A learned optimizer with a tuned learning-rate multiplier: a row that no verdict is about."""

from typing import Any

import jax
import numpy as np
import pytest

import lopt
from launch.evaluate.from_config import load_bundles
from meta_train.evaluation import Evaluation
from meta_train.evaluation.model_card import judged
from tests.launch.evaluate.conftest import SMALL, save_bundle

NAME = "small, multiplier tuned"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A bundle whose steps are ten times too small for the bowl."""
    return save_bundle(tmp_path_factory.mktemp("bundles") / "small", learning_rate=0.01)


@pytest.fixture(scope="module")
def finished(evaluate, bundle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("multiplier")
    words = ["--config.tuning.multiplier=True", f"--config.cache_dir={folder / 'cache'}"]
    words += ["--config.baselines={'adam': {'learning_rate': 1e-4}}"]
    return folder / "w", evaluate(folder / "w", bundle, *SMALL, *words)


def test_it_is_tuned_on_the_baselines_budget(finished):
    _, summary = finished
    (entry,) = summary["tuned"]
    assert (entry["optimizer"], entry["trials"]) == (NAME, 3)
    factor = entry["hyperparameters"]["learning_rate_multiplier"]
    assert 3 < factor < 100
    losses = {x["optimizer"]: x["mean_loss"] for x in summary["measures"]}
    assert losses[NAME] < losses["small"]


def test_the_factor_is_on_the_steps(bundle):
    plain, tuned = load_bundles([str(bundle)], multiplier=True)
    params, grads = np.ones(3, np.float32), np.arange(3, dtype=np.float32)

    def step(optimizer, hyperparameters) -> Any:
        tx = optimizer.make(optimizer.theta, hyperparameters, 20)
        return tx.update(grads, tx.init(params), params)[0]

    expected = 0.5 * step(plain, {})
    np.testing.assert_allclose(step(tuned, {"learning_rate_multiplier": 0.5}), expected)
    np.testing.assert_array_equal(step(tuned, {}), step(plain, {}))
    assert plain.identity != tuned.identity
    assert lopt.load_bundle(bundle).card == tuned.card
    jax.jit(lambda x: step(tuned, {"learning_rate_multiplier": x}))(0.5)


def test_the_verdict_is_about_the_untuned_one(finished):
    found = Evaluation.load(finished[0])
    (line,) = found.verdict("small").lines
    assert NAME not in line
    with pytest.raises(KeyError, match="small"):
        found.verdict(NAME)
    _, best = judged(found).entries["evaluation"]
    assert best["optimizer"] == "adam"  # not the tuned one, which is better
    assert (found.learned, found.tuned, found.baselines) == (["small"], [NAME], ["adam"])
    assert found.optimizers == ["small", NAME, "adam"]
