"""Making tasks by name: sizes, overrides and errors."""

import jax
import pytest

import tasks
from tasks import checks


def count(task):
    params = jax.eval_shape(task.init, jax.random.key(0), task.sample(jax.random.key(0)))
    return sum(x.size for x in jax.tree.leaves(params))


@pytest.mark.parametrize(
    ("name", "size", "batch"),
    [
        ("digits_mlp", 2410, 64),
        ("mnist_mlp", 25450, 128),
        ("cifar10_mlp", 427658, 128),
        ("digits_conv", 5130, 64),
        ("cifar10_conv", 5418, 64),
        ("digits_resnet", 19786, 32),
        ("digits_vit", 7098, 32),
        ("mnist_vit", 27914, 32),
        ("digits_autoencoder", 9416, 64),
        ("digits_vae", 9936, 64),
        ("breast_cancer_mlp", 2114, 32),
        ("diabetes_mlp", 1441, 32),
        ("text_lstm", 14560, 16),
        ("text_transformer", 32736, 8),
    ],
)
def test_default_sizes(name, size, batch, make_task):
    task = make_task(name)
    assert count(task) == size
    assert task.batch_size == batch


def test_overrides_reach_the_task():
    task = tasks.make("digits_mlp", hidden=[16, 8], activation="tanh", batch_size=3, image_size=4)
    assert task.module.hidden == (16, 8)
    assert count(task) == 16 * 17 + 17 * 8 + 9 * 10
    batch = task.batch(jax.random.key(0), (), "test")
    assert batch["image"].shape == (3, 16)
    hash(jax.tree.structure(task))


def test_no_hidden_layer_is_logistic_regression():
    assert count(tasks.make("digits_mlp", hidden=())) == 65 * 10


def test_data_dir_is_ignored_where_there_are_no_data(tmp_path):
    assert tasks.make("quadratic", data_dir=tmp_path, dim=3).dim == 3


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("digit_mlp", {}, "digits_mlp"),
        ("digits_mlp", {"batchsize": 3}, "batch_size"),
        ("digits_mlp", {"batch_size": 0}, "batch_size must be an integer of at least 1, got 0"),
        ("digits_mlp", {"hidden": (32, -1)}, "at least 1, got -1"),
        ("digits_mlp", {"activation": "rellu"}, "relu"),
        ("digits_mlp", {"image_size": 9}, "from 1 to 8"),
        ("digits_mlp", {"init_scale": float("nan")}, "init_scale must be finite"),
        ("digits_mlp", {"data_seed": -1}, "data_seed"),
        ("digits_mlp", {"dataset": "digit"}, "digits"),
        ("digits_mlp_family", {"width": (8, 4)}, "smallest before largest"),
        ("digits_mlp_family", {"depth": (0, 4)}, "at least 1, got 0"),
        ("digits_mlp_family", {"activations": ()}, "at least one name"),
        ("digits_mlp_family", {"activations": ("relu", "geluu")}, "gelu"),
        ("digits_mlp_family", {"reparam": (0.0, 1.0)}, "reparam must be finite"),
        ("digits_conv", {"channels": (16, 0)}, "at least 1, got 0"),
        ("digits_conv", {"batch_size": 2000}, "larger than the train split of 'digits', 1197"),
        ("digits_resnet", {"channels": (16, 6)}, "multiple of groups = 4"),
        ("digits_resnet", {"channels": ()}, "at least one number"),
        ("digits_resnet", {"blocks": 0}, "blocks must be"),
        ("digits_vit", {"patch_size": 3}, "must divide the images' sides, 8 x 8"),
        ("digits_vit", {"heads": 3}, "heads = 3 must divide width = 16"),
        ("digits_vae", {"latent": 0}, "latent must be"),
        ("digits_autoencoder", {"activation": "rellu"}, "relu"),
        ("text_lstm", {"length": 0}, "length must be"),
        ("text_transformer", {"depth": 0}, "depth must be"),
        ("text_transformer", {"num_chars": 300}, "too few for passages of 33"),
        ("wine_mlp", {"batch_size": 179}, "larger than the train split of 'wine', 108"),
        ("wine_mlp", {"dataset": "whine"}, "wine"),
        ("quadratic", {"condition": 0.5}, "at least 1"),
        ("quadratic", {"dim": 0}, "dim must be"),
        ("quadratic", {"noise": -1.0}, "noise"),
        ("quadratic", {"seed": -1}, "seed"),
    ],
)
def test_bad_values_have_clear_errors(name, overrides, message):
    with pytest.raises(ValueError, match=message):
        tasks.make(name, **overrides)


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (checks.check_int, 1.5),
        (checks.check_int, True),
        (checks.check_int, "3"),
        (checks.check_int, None),
        (checks.check_ints, 32),
        (checks.check_ints, "32"),
        (checks.check_ints, (3, 2.5)),
        (checks.check_range, ("1", "2")),
        (checks.check_range, 3.0),
        (checks.check_range, (1.0, float("inf"))),
        (checks.check_range, (1.0, 2.0, 3.0)),
    ],
)
def test_values_of_the_wrong_kind_have_clear_errors(check, value):
    with pytest.raises(ValueError, match=r"some_field.* must be .*got "):
        check("some_field", value, 1.0 if check is checks.check_range else 1)


def test_a_data_set_is_added_by_one_line(monkeypatch):
    digits = tasks.load("digits")
    monkeypatch.setitem(tasks.DATASETS, "mine", lambda data_dir: digits)
    task = tasks.make("digits_mlp", dataset="mine")
    assert task.data.num_train == 1197
    assert tasks.list_datasets()[-1].state == "custom"


def test_a_task_with_free_fields_is_added_by_one_line(monkeypatch):
    monkeypatch.setitem(tasks.TASKS, "mine", lambda **fields: tasks.quadratic(**fields))
    assert tasks.make("mine", dim=4).dim == 4


def test_held_out_variant_of_the_digits():
    first, other = (tasks.make("digits_mlp", data_seed=seed).data for seed in (0, 1))
    assert other.bounds("valid") == first.bounds("valid")
    rows = [{row.tobytes() for row in jax.device_get(d.images[:1197])} for d in (first, other)]
    assert 0.5 < len(rows[0] & rows[1]) / 1197 < 0.8
    both = [sorted(row.tobytes() for row in jax.device_get(d.images)) for d in (first, other)]
    assert both[0] == both[1]
