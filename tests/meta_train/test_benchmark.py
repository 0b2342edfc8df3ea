"""What the benchmark counts, asks, reports and says of memory."""

import dataclasses
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import optax
import pytest

import tasks
from meta_train import PES, Execution, MetaTrainer, benchmark
from meta_train.benchmark import apply, operations, random_data, report
from meta_train.benchmark.processes import Worker
from meta_train.benchmark.protocol import Failed, repeat
from meta_train.capacity import Capacity, Memory
from tests.meta_train.linear_system import SYSTEM, THETA

PROTOCOL = Path(benchmark.__file__).parent / "protocol.py"


def test_operations_are_those_that_can_be_counted_by_hand():
    def program(a, b):
        def step(x, _):
            return jnp.tanh(x @ b) / 2.5 + 1.0, None

        x, _ = jax.lax.scan(step, a, length=3)
        return jax.lax.cond(x[0, 0] > 0, lambda: x, lambda: jnp.exp(jnp.exp(x))).T.reshape(-1)

    counts = operations.count(program, jnp.ones((4, 5)), jnp.ones((5, 5)))
    assert counts["matrix"] == 3 * 2 * 4 * 5 * 5
    assert counts["transcendental"] == 3 * 20
    assert counts["division"] == 3 * 20
    assert 3 * 20 <= counts["arithmetic"] <= 3 * 20 + 2  # the comparison that chooses the branch
    assert counts["random"] == 0


def test_convolutions_are_products():
    image, kernel = jnp.ones((2, 8, 8, 3)), jnp.ones((3, 3, 3, 16))
    numbers = ("NHWC", "HWIO", "NHWC")
    counts = operations.count(
        lambda x, k: jax.lax.conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=numbers),
        image,
        kernel,
    )
    assert counts == {"matrix": 2 * (2 * 8 * 8 * 16) * (3 * 3 * 3)}


@pytest.mark.parametrize(
    "particles", ["sequential", pytest.param("parallel", marks=pytest.mark.slow)]
)
def test_as_many_pairs_as_are_said_to_fit_do(particles):
    def compiled(num_pairs):
        estimator, execution = PES(6, 2, num_pairs=num_pairs), Execution(particles)
        return MetaTrainer([SYSTEM], estimator, optax.adam(0.1), execution=execution).compile(THETA)

    free = 400_000
    memory = compiled(5000)
    capacity = Capacity(5000, 1, free, particles == "sequential")
    assert not capacity.fits(memory)
    fitting = capacity.largest(memory)
    assert f"choose at most {fitting:,}" in str(capacity.error(memory))
    assert dataclasses.replace(capacity, num_groups=fitting).fits(compiled(fitting))
    assert not dataclasses.replace(capacity, num_groups=2 * fitting).fits(compiled(2 * fitting))


def test_what_is_not_known_fits():
    capacity = Capacity(4, 1, None, True)
    assert capacity.fits(Memory(1, 1, 1, 10**15))
    assert capacity.largest(Memory(1, 1, 1, 1)) is None


def test_a_process_answers_and_its_end_is_reported(tmp_path):
    file = tmp_path / "counting.py"
    file.write_text(
        "def start(order):\n"
        "    print('not an answer')\n"
        "    def fail(_):\n"
        "        raise ValueError('of all things')\n"
        "    return {'given': order['x']}, {'add': lambda y: {'sum': order['x'] + y}, 'fail': fail}"
    )
    worker = Worker([sys.executable, "-P", str(PROTOCOL), str(file)], {}, {"x": 3})
    assert worker.details == {"given": 3}
    assert worker.ask("add", 4) == {"sum": 7}
    with pytest.raises(Failed, match=r"status 1: ValueError: of all things"):
        worker.ask("fail")
    worker.close()


def test_something_is_repeated_for_as_long_as_was_asked():
    calls = []
    answer = repeat(
        lambda count: calls.extend(jnp.arange(20_000).sum() for _ in range(count)), 0.05
    )
    assert len(calls) >= 1
    assert answer["seconds"] > 0
    assert answer["peak_bytes"] > 1e7


def meta_step_result(seconds, reference_seconds):
    turns = [{"seconds": x, "inner_steps": 100, "peak_bytes": 5e8} for x in seconds]
    theirs = [{"seconds": x, "inner_steps": 100, "peak_bytes": 5e8} for x in reference_seconds]
    start = {
        "compile_seconds": 4,
        "ready_seconds": 6,
        "peak_bytes": 6e8,
        "largest_num_groups": 1000,
        "meta_step_bytes": 1e6,
        "group_bytes": 4e3,
    }
    return {
        "case": "digits/mlp",
        "kind": "meta_step",
        "competitors": {
            "ours": {"start": start, "cold": start, "first": {"seconds": 3.0}, "turns": turns},
            "reference": {"start": {}, "turns": theirs},
        },
        "limit": {
            "operations": {"matrix": 1e9, "arithmetic": 2e8},
            "bytes": 1e9,
            "rates": {"matrix": 1e10, "arithmetic": 1e9, "copy": 1e10},
        },
    }


def test_ratios_are_those_of_the_same_turn_and_shares_of_the_median():
    result = meta_step_result([1.0, 2.0, 1.0], [3.0, 6.0, 3.0])
    assert report.share_of_limit(result) == {
        "matrix": pytest.approx(0.1),
        "arithmetic": pytest.approx(0.2),
        "bytes": pytest.approx(0.1),
        "all": pytest.approx(0.3),
    }
    text = benchmark.markdown([result], 3, 1, {"mnist"}, [meta_step_result([4.0] * 3, [])])
    assert "| digits/mlp | 100 (75-100) | 33.3 (25.0-33.3) | 3.00 (3.00-3.00) | 25.0 (" in text
    assert "Random images stood in for mnist." in text
    assert "| digits/mlp | 4.0 | 7.0 | 7.0 | 2.0 | 600 |" in text


def test_a_case_that_failed_is_reported_beside_the_others():
    failed = {"case": "general", "kind": "meta_step", "competitors": {}, "error": "killed"}
    text = benchmark.markdown([meta_step_result([1.0], []), failed], 1, None, ())
    assert "- general: killed" in text
    assert "| digits/mlp | 100" in text


@pytest.mark.slow
def test_random_images_stand_in_for_what_is_not_prepared(tmp_path):
    assert random_data.fill(tmp_path / "a", ["mnist_mlp", "digits_mlp"], tmp_path) == {"mnist"}
    task = tasks.make("mnist_mlp", data_dir=tmp_path / "a")
    assert task.data.images.shape == (70_000, 784)
    assert random_data.fill(tmp_path / "b", ["mnist_mlp"], tmp_path / "a") == set()
    assert (tmp_path / "b/mnist/3.0.1").is_symlink()


def test_cases_are_chosen_by_wildcards():
    assert {case.name for case in benchmark.select(["apply/velo/*", "general"])} == {
        "apply/velo/1e6",
        "apply/velo/1e7",
        "general",
    }
    assert len(benchmark.select([])) < len(benchmark.CASES)
    json.dumps([case.config for case in benchmark.CASES.values()])


def test_a_kernel_is_compared_with_jnp_before_it_is_timed():
    order = {"optimizer": "sgd_schedule", "size": "4e3", "update_kernel": "pallas"}
    details, actions = apply.start(order)
    assert details["difference"] == 0.0  # without a kernel of its own
    assert actions["run"](0.0)["seconds"] > 0.0
    params = {"w": jax.ShapeDtypeStruct((3, 3), jnp.float32)}
    steps = [apply._Step(name, params) for name in ("sgd_schedule", "adam_schedule")]
    assert steps[0].difference(steps[1]) > 0.1
