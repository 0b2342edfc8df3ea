import json

import pytest

from launch import configuration, differences


@pytest.mark.parametrize("name", [n for n in configuration.packaged() if n != "base"])
def test_a_config_that_was_saved_is_the_same(name):
    config = configuration.load(name)
    saved = configuration.complete(json.loads(json.dumps(config.to_dict())))
    assert differences.differences(saved, config) == {}


def test_free_fields_do_not_count_and_others_do():
    saved, current = (configuration.load("digits_mlp_pes") for _ in range(2))
    current.meta_steps = 7
    current.devices.count = 4
    current.checkpoint.keep_latest = 9
    assert differences.differences(saved, current) == {}
    current.estimator.std = 0.5
    current.tasks.digits_mlp.hidden = (16,)
    assert differences.differences(saved, current) == {
        "estimator.std": (0.02, 0.5),
        "tasks.digits_mlp.hidden": ([32], [16]),
    }


def test_only_what_particles_depend_on_makes_them_start_again():
    assert differences.keeps_particles(["meta_optimizer.b2", "bad_steps.max_grad_norm"])
    assert not differences.keeps_particles(["meta_optimizer.b2", "estimator.std"])
    assert not differences.keeps_particles(["seed"])
