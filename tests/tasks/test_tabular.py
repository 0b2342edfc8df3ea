"""Tables are the published ones, dealt into disjoint splits and standardised by the train split."""

import jax
import numpy as np
import pytest
from sklearn import datasets

import tasks
from tasks.datasets.tabular import TABLES, load_table
from tests import rounding
from tests.tasks import compiled

LOADERS = {
    "breast_cancer": lambda: datasets.load_breast_cancer(return_X_y=True),
    "wine": lambda: datasets.load_wine(return_X_y=True),
    "iris": lambda: datasets.load_iris(return_X_y=True),
    "diabetes": lambda: datasets.load_diabetes(return_X_y=True, scaled=False),
}


@pytest.mark.parametrize("name", sorted(TABLES))
def test_every_row_is_in_exactly_one_split(name):
    features, targets = LOADERS[name]()
    table = load_table(name, 3)
    edges = [table.bounds(split) for split in tasks.SPLITS]
    assert [edges[0][0], edges[1][0], edges[2][0]] == [0, edges[0][1], edges[1][1]]
    assert edges[2][1] == len(features)
    sizes = [stop - start for start, stop in edges]
    assert sizes[1] == sizes[2] == len(features) // 5
    train = np.asarray(table.features[: sizes[0]], np.float64)
    np.testing.assert_allclose(train.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(train.std(axis=0), 1, rtol=1e-5)
    # Standardisation is affine in each column, so sorting the columns undoes the shuffle.
    ours, theirs = (np.sort(np.asarray(x, np.float64), axis=0) for x in (table.features, features))
    for column in range(features.shape[1]):
        assert np.corrcoef(ours[:, column], theirs[:, column])[0, 1] > 1 - 1e-9
    if table.num_classes is None:
        assert np.corrcoef(np.sort(table.targets), np.sort(targets))[0, 1] > 1 - 1e-9
    else:
        np.testing.assert_array_equal(np.bincount(table.targets), np.bincount(targets))
        assert table.num_classes == len(np.unique(targets))


def test_features_stay_with_their_targets():
    features, targets = LOADERS["diabetes"]()
    table = load_table("diabetes", 1)
    for column in range(features.shape[1]):
        before = np.corrcoef(features[:, column], targets)[0, 1]
        after = np.corrcoef(table.features[:, column], table.targets)[0, 1]
        np.testing.assert_allclose(before, after, atol=1e-5)


def test_another_seed_deals_anew():
    first, same, other = (load_table("wine", seed).targets for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)


def test_regression_that_says_nothing_has_the_loss_of_the_mean():
    task = tasks.make("diabetes_mlp", batch_size=200)
    shapes = jax.eval_shape(task.init, jax.random.key(0), ())
    params = jax.tree.map(lambda x: np.zeros(x.shape, np.float32), shapes)
    batch = compiled.batch(task, jax.random.key(1), (), "train")
    loss, metrics = compiled.loss(task, jax.random.key(0), (), params, batch)
    expected = np.mean(np.square(np.asarray(batch["target"], np.float64)))
    np.testing.assert_allclose(loss, expected, rtol=rounding.of_sum(200))
    np.testing.assert_allclose(loss, 1, atol=0.2)
    assert metrics == {}
