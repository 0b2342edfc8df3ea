import json

import pytest

from configs.base import RunConfig
from launch import configuration, differences, overrides


@pytest.mark.parametrize("name", [n for n in configuration.packaged(RunConfig) if n != "base"])
def test_a_config_that_was_saved_is_the_same(name):
    config = configuration.load(name, RunConfig)
    saved = configuration.complete(json.loads(json.dumps(config.to_dict())), RunConfig)
    assert differences.differences(saved, config) == {}


def test_free_fields_do_not_count_and_others_do():
    saved = configuration.load("digits_mlp_pes", RunConfig)
    free = ["meta_steps=7", "devices.count=4", "checkpoint.keep_latest=9"]
    current, _ = overrides.apply(saved, [f"--config.{word}" for word in free])
    assert (current.meta_steps, current.devices.count, current.checkpoint.keep_latest) == (7, 4, 9)
    assert differences.differences(saved, current) == {}
    others = ["estimator.std=0.5", "tasks.digits_mlp.hidden=(16,)"]
    current, _ = overrides.apply(current, [f"--config.{word}" for word in others])
    assert differences.differences(saved, current) == {
        "estimator.std": (0.02, 0.5),
        "tasks.digits_mlp.hidden": ([32], [16]),
    }


def test_only_what_particles_depend_on_makes_them_start_again():
    assert differences.keeps_particles(["meta_optimizer.b2", "bad_steps.max_grad_norm"])
    assert not differences.keeps_particles(["meta_optimizer.b2", "estimator.std"])
    assert not differences.keeps_particles(["seed"])
