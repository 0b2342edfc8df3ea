import ast
import dataclasses
import inspect
import json
import textwrap

import pytest

from configs.base import RunConfig
from configs.held_out import EvaluationConfig
from launch import configuration, overrides
from launch.configuration import COMMANDS
from launch.errors import UserError


def resolve(spec, *arguments, kind=RunConfig):
    """The config that a command line gives."""
    config, rest = overrides.resolve([f"--config={spec}", *arguments], kind, "base")
    assert rest == []
    return config


@pytest.fixture
def write(tmp_path):
    def write(source, name="mine.py"):
        path = tmp_path / name
        path.write_text(textwrap.dedent(source), encoding="utf-8")
        return path

    return write


PACKAGED = [
    pytest.param(kind, name, id=name) for kind in COMMANDS for name in configuration.packaged(kind)
]


@pytest.mark.parametrize(("kind", "name"), PACKAGED)
def test_packaged_config_loads_and_survives_json(kind, name, tmp_path):
    config = resolve(name, kind=kind)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config.to_dict()), encoding="utf-8")
    again = resolve(path, kind=kind)
    assert json.dumps(again.to_dict()) == json.dumps(config.to_dict())


@pytest.mark.parametrize(("kind", "name"), PACKAGED)
def test_packaged_config_says_how_to_run_it(kind, name):
    source = configuration.packaged(kind)[name].read_text(encoding="utf-8")
    if name != "base":
        assert f"lopt {COMMANDS[kind]} " in source
        assert f" --config={name} " in source
        assert all(f"\n{word}: " in source for word in ("Machine", "Minutes", "Result"))


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("--config.estimator.std=0.02", "estimator.std", 0.02),
        ("--config.estimator.std=1", "estimator.std", 1.0),
        ("--config.seed=3", "seed", 3),
        ("--config.estimator.horizon=50", "estimator.horizon", 50),
        ("--config.objective.clip=None", "objective.clip", None),
        ("--config.objective.clip=3.5", "objective.clip", 3.5),
        ("--config.objective.normalize", "objective.normalize", True),
        ("--config.objective.normalize=false", "objective.normalize", False),
        ("--config.optimizer.hidden=(8, 8)", "optimizer.hidden", (8, 8)),
        ("--config.meta_optimizer.b1=0.5", "meta_optimizer.b1", 0.5),
        ("--config.meta_optimizer.schedule.name=cosine", "meta_optimizer.schedule.name", "cosine"),
        ("--config.imports=a", "imports", ("a",)),
        ("--config.imports=('a', 'b.py')", "imports", ("a", "b.py")),
        ("--config.data_dir=/data", "data_dir", "/data"),
        ("--config.tasks.digits_mlp.batch_size=3", "tasks.digits_mlp.batch_size", 3),
        ("--config.tasks.more.name=quadratic", "tasks.more.name", "quadratic"),
        ("--config.tasks=quadratic", "tasks.quadratic.name", "quadratic"),
        ("--config.comparison.baselines=lion", "comparison.baselines", ("lion",)),
        ("--config.comparison.held_out=quadratic", "comparison.held_out.quadratic.weight", 1.0),
    ],
)
def test_override(override, path, value):
    found = resolve("base", override).flat()[path]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("swap", [False, True])
def test_tasks_and_their_fields_together(swap):
    words = ["--config.tasks=quadratic", "--config.tasks.quadratic.dim=3"]
    tasks = resolve("base", *(reversed(words) if swap else words)).tasks
    assert sorted(tasks) == ["quadratic"]
    assert tasks["quadratic"].fields["dim"] == 3


def test_a_repeated_flag_adds_to_a_tuple():
    words = ["--config.imports=a", "--config.imports=('b', 'c')"]
    assert resolve("base", *words).imports == ("a", "b", "c")


def test_a_whole_section_replaces_that_of_the_file():
    found = resolve("general", "--config.estimator={'std': 0.5}").estimator
    assert (found.name, found.std, found.horizon) == ("pes", 0.5, 1000)


def test_one_entry_of_a_dict():
    found = resolve("general", "--config.estimator.horizon.low=50").estimator.horizon
    assert found == {"name": "log_uniform", "low": 50, "high": 2000}


def test_a_task_keeps_its_fields_under_another_name():
    tasks = resolve("digits_mlp_pes", "--config.tasks.digits_mlp.name=mnist_mlp").tasks
    assert (tasks["digits_mlp"].name, tasks["digits_mlp"].fields["hidden"]) == ("mnist_mlp", (32,))


def test_value_may_be_a_word_of_its_own():
    assert resolve("base", "--config.seed", "4").seed == 4


def test_horizon_may_be_a_section():
    override = "--config.estimator.horizon={'name': 'log_uniform', 'low': 10, 'high': 20}"
    assert resolve("base", override).estimator.horizon["high"] == 20


@pytest.mark.parametrize(
    ("value", "labels"),
    [
        ("quadratic", ["quadratic"]),
        ("quadratic,digits_mlp", ["digits_mlp", "quadratic"]),
        ("('quadratic', 'quadratic')", ["quadratic", "quadratic_2"]),
        ("[{'name': 'quadratic', 'weight': 2.0}]", ["quadratic"]),
        ("{'name': 'quadratic'}", ["quadratic"]),
        ("{'a': {'name': 'quadratic'}, 'b': 'quadratic'}", ["a", "b"]),
    ],
)
def test_ways_to_write_tasks(value, labels):
    tasks = resolve("base", f"--config.tasks={value}").tasks
    assert sorted(tasks) == labels
    assert all(isinstance(tasks[label].name, str) for label in labels)
    assert all(tasks[label].weight > 0 for label in labels)


@pytest.mark.parametrize(
    ("overrides_", "expected"),
    [
        (["--config.estimatr.std=1"], "did you mean 'estimator'?"),
        (["--config.objective.clp=1"], "did you mean 'clip'?"),
        (["--config.meta_step=1"], "did you mean 'meta_steps'"),
        (["--config.seed=x"], "wants a whole number"),
        (["--config.seed=1.5"], "wants a whole number"),
        (["--config.estimator.std=x"], "wants a number"),
        (["--config.objective.normalize=7"], "--config.objective.normalize=7"),
        (["--config.seed.x=1"], "config.seed is a value, not a section"),
        (["--config.estimator.horizon.low=1"], "--config.estimator.horizon="),
        (["--config.objective=x"], "--config.objective=x"),
        (["--config.tasks=('quadratic', 3)"], "holds 3"),
        (["--config.tasks=[{'weight': 1.0}]"], "a task without a name"),
        (["--config.seed"], "config.seed"),
    ],
)
def test_mistake_in_an_override(overrides_, expected):
    with pytest.raises(UserError) as caught:
        resolve("base", *overrides_)
    assert expected in str(caught.value)


def test_file_may_hold_only_what_it_changes(write):
    path = write("def get_config():\n    return {'seed': 5, 'estimator': {'std': 0.5}}\n")
    config = resolve(path, "--config.estimator.num_pairs=3")
    base = resolve("base")
    assert (config.seed, config.estimator.std, config.estimator.num_pairs) == (5, 0.5, 3)
    assert config.estimator.horizon == base.estimator.horizon
    assert config.tasks == base.tasks


def test_file_may_build_on_the_base_and_take_an_argument(write):
    path = write("""
        from configs import base

        def get_config(seed="1"):
            config = base.get_config()
            config.seed = int(seed)
            return config
    """)
    assert resolve(path).seed == 1
    assert resolve(f"{path}:7").seed == 7


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def get_config(:\n", "line 1"),
        ("x = 1\n", "defines no get_config()"),
        ("def get_config():\n    return 3\n", "returned int"),
        ("def get_config():\n    return {}['x']\n", "line 2: KeyError"),
        ("def get_config():\n    return {'sed': 3}\n", "did you mean 'seed'?"),
        ("def get_config():\n    return {'seed': 'x'}\n", "config.seed = 'x' is of type str"),
        ("def get_config():\n    return {'tasks': 3}\n", "config.tasks"),
        ("def get_config():\n    return {'tasks': {'a.b': {}}}\n", "'a.b' must be without a dot"),
        ("def get_config():\n    return {'seed': True}\n", "config.seed = True is of type bool"),
        ("def get_config():\n    return {'seed': -1}\n", "config.seed = -1 must be at least 0"),
        ("def get_config():\n    return {'estimator': 3}\n", "int; it wants a section"),
        (
            "def get_config():\n    return {'checkpoint': {'keep_latest': 0}}\n",
            "config.checkpoint.keep_latest = 0 must be at least 1",
        ),
        (
            "def get_config():\n    return {'meta_optimizer': {'average_rate': 2}}\n",
            "config.meta_optimizer.average_rate = 2 must be above 0 and at most 1",
        ),
        (
            "def get_config():\n    return {'devices': {'count': 'x'}}\n",
            "config.devices.count = 'x' must be a whole number or None",
        ),
    ],
)
def test_broken_file(write, source, expected):
    with pytest.raises(UserError) as caught:
        resolve(write(source))
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("digits_mlp_pse", "did you mean 'digits_mlp_pes'"),
        ("nowhere/digits_mlp_pes.py", "the packaged config is --config=digits_mlp_pes"),
        ("nowhere/x.py", "nowhere/x.py does not exist"),
        ("nowhere.json", "nowhere.json does not exist"),
    ],
)
def test_config_that_is_not_there(spec, expected):
    with pytest.raises(UserError) as caught:
        configuration.load(spec, RunConfig)
    assert expected in str(caught.value)


def test_broken_json(write):
    with pytest.raises(UserError, match="cannot be read"):
        configuration.load(str(write("{", name="config.json")), RunConfig)


@pytest.mark.parametrize("kind", COMMANDS)
def test_every_field_says_what_it_means(kind):
    module = ast.parse(inspect.getsource(inspect.getmodule(kind)))
    classes = [node for node in module.body if isinstance(node, ast.ClassDef)]
    sections = {node.name for node in classes} | {"Named"}
    fields = 0
    for node in classes:
        assert ast.get_docstring(node), node.name
        for field, below in zip(node.body, [*node.body[1:], None], strict=True):
            if not isinstance(field, ast.AnnAssign) or field.target.id in ("name", "fields"):
                continue
            fields += 1
            if ast.unparse(field.annotation) not in sections:  # whose docstrings tell
                assert isinstance(below, ast.Expr), f"{node.name}.{field.target.id}"
    assert fields > 15


def test_a_config_cannot_be_changed():
    config = resolve("base")
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.estimator.std = 0.5


def test_short_name_works_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert isinstance(configuration.load("digits_mlp_pes", RunConfig), RunConfig)


def test_split_config():
    assert overrides.split_config(["--config=a", "--x=1"]) == ("a", ["--x=1"])
    assert overrides.split_config(["--x", "--config", "a"]) == ("a", ["--x"])
    assert overrides.split_config(["--config.seed=1"]) == (None, ["--config.seed=1"])


def test_another_name_drops_the_fields_of_the_one_before():
    config = configuration.load("general", RunConfig)
    assert "hidden" in config.optimizer.to_dict()
    arguments = ["--config.optimizer.name=lstm", "--config.meta_optimizer.name=sgd"]
    config, _ = overrides.apply(config, arguments)
    assert "hidden" not in config.optimizer.to_dict()
    assert "b2" not in config.meta_optimizer.to_dict()
    assert "schedule" in config.meta_optimizer.to_dict()


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("--config.tasks=quadratic", "tasks.quadratic.set", "held_out"),
        ("--config.tasks.digits_mlp_deep.hidden=(8,)", "tasks.digits_mlp_deep.hidden", (8,)),
        ("--config.baselines=adam,yogi", "baselines.yogi.name", "yogi"),
        ("--config.baselines.adam.b1=0.8", "baselines.adam.b1", 0.8),
        ("--config.tuning.use_shipped=False", "tuning.use_shipped", False),
        ("--config.axes={'more': {'a': {'x': 1}}}", "axes.more.a.x", 1),
        ("--config.reference=lion", "reference", ("lion",)),
    ],
)
def test_override_of_an_evaluation(override, path, value):
    assert resolve("held_out", override, kind=EvaluationConfig).flat()[path] == value


@pytest.mark.parametrize("axes", ["3", "{'width x4': 3}", "{'width x4': {'a': 3}}"])
def test_axes_that_change_no_task(axes):
    with pytest.raises(UserError, match="must be a dict of dicts"):
        resolve("held_out", f"--config.axes={axes}", kind=EvaluationConfig)


def test_config_of_another_command():
    with pytest.raises(UserError, match="held_out is a config of `lopt evaluate`; `lopt meta-tr"):
        resolve("held_out")
    with pytest.raises(UserError, match="digits_mlp_pes is a config of `lopt meta-train`"):
        resolve("digits_mlp_pes", kind=EvaluationConfig)
