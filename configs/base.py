"""Every field of a config with its default; the experiment files change a few of them.

Values may be changed on the command line: --config.estimator.std=0.02. Sections that have a
`name` take, besides what stands here, the fields of the thing that is named (`lopt list`).
"""

from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_dict import FieldReference


def _any(default: Any) -> FieldReference:
    """A field that may hold values of several types, None among them."""
    return FieldReference(default, field_type=object)


def get_config() -> ConfigDict:
    config = ConfigDict()

    config.seed = 0  # every random number of the run follows from it
    config.meta_steps = 1000  # updates of theta
    config.steps_per_dispatch = 1  # meta-steps per call into XLA; more pays when one takes < 10 ms
    config.log_every_steps = 1  # every so many meta-steps go into metrics.jsonl and events/
    config.data_dir = _any(None)  # folder of prepared data sets; None: that of `lopt data list`
    config.imports = ()  # modules or .py files that register more optimizers, tasks, systems, ...

    # What is unrolled. "lopt": training `tasks` with `optimizer`. Another system of SYSTEMS takes
    # its own fields here, and `optimizer`, `tasks` and `objective` are not looked at.
    config.system = ConfigDict({"name": "lopt"})

    config.optimizer = ConfigDict({"name": "mlp"})  # its other fields: sizes, step multipliers, ...
    # A bundle, by folder or shipped name, or the work folder of another run whose theta the first
    # theta takes over, group by group where both have it in the same shapes: the scalars of an
    # earlier phase, say.
    config.init_from = _any(None)

    # Tasks by label: {name (the label by default), weight, fields of the task}. The meta-gradient
    # is the mean over tasks by weight; every task has particles of its own.
    config.tasks = ConfigDict({"digits_mlp": {"weight": 1.0}})
    # Tasks that each meta-step takes, drawn by weight; None: all. Fewer are faster, and noisier.
    config.systems_per_step = _any(None)
    # Largest norm of one task's meta-gradient, before the mean over tasks; None: no limit.
    config.system_clip_norm = _any(None)

    config.estimator = ConfigDict(
        {
            "name": "pes",
            # T, inner steps of one episode: a number, or a dict such as
            # {"name": "log_uniform", "low": 100, "high": 1000}.
            # None: episodes never end (systems other than the training of tasks).
            "horizon": _any(1000),
            "truncation_length": _any(20),  # K, inner steps per meta-step; None: T
            # Where T is random: "steps" weighs every inner step alike, "episodes" every episode.
            "mean_over": "steps",
            "num_pairs": 8,  # antithetic pairs per task: 2 * num_pairs particles
            "std": 0.01,  # sigma of the perturbation, in units of theta
            # {"scalars": 0.02, ...}: one for each of theta's top-level groups in the place of std;
            # 0 leaves a group as it is. Groups that theta lacks are left out.
            "group_std": _any(None),
        }
    )

    # Any optimizer of optax by its name there, with its arguments (b1, weight_decay, ...); or
    # "chain" with transforms = ({"name": ..., arguments}, ...).
    config.meta_optimizer = ConfigDict(
        {
            "name": "adam",
            "learning_rate": 2e-3,  # its peak, where a schedule moves it
            # A long memory of the large gradients of the first meta-steps would only slow it down.
            "b2": 0.99,
            "schedule": {
                "name": "cosine",  # down to the end; or "linear", "exponential", "constant"
                "warmup_fraction": 0.05,  # of meta_steps: linear rise from 0
                "final_fraction": 0.05,  # of learning_rate, at the last meta-step
            },
            "clip_norm": _any(1.0),  # largest global norm of the meta-gradient; None: no limit
            "clip_value": _any(None),  # largest size of one coordinate; None: no limit
            # Factor on the learning rate of each of theta's top-level groups, {"network": 0.1,
            # ...}; 0 leaves a group as it is, and those that theta lacks are left out; None: 1.
            "group_factors": _any(None),
            # Rate at which an average of theta follows it, that is validated and bundled in its
            # place: it remembers about 1 / rate meta-steps. None: no average.
            "average_rate": _any(None),
        }
    )

    # What theta is trained for.
    config.objective = ConfigDict(
        {
            "kind": "mean",  # "mean": inner loss over the episode; "final": of its last step
            # Batches on which it is measured: "train", "valid" or, of both, "mixed".
            "split": "train",
            "valid_weight": 0.5,  # of the validation loss in "mixed"
            # Bound of one step's loss, in multiples of the initial loss; None: no bound.
            "clip": _any(4.0),
            "normalize": False,  # divide by the initial loss, so that tasks weigh alike
            # "first_theta": divide by the mean meta-loss of the run's first theta on the task, so
            # that the meta-gradient is that of the mean log loss there; meta-validation takes the
            # geometric mean over tasks.
            "unit": _any(None),
        }
    )

    # Meta-steps that change nothing: no finite meta-loss or meta-gradient, or too large a one.
    config.bad_steps = ConfigDict(
        {
            "max_grad_norm": _any(1e6),  # None: any finite norm is good
            "max_in_a_row": 50,  # the run stops after so many; its last good checkpoint stays
        }
    )

    # The state of the run, from which the same command goes on where it was stopped.
    config.checkpoint = ConfigDict(
        {
            "every_steps": 100,  # meta-steps; 0: only at the end and when stopped by a signal
            "keep_latest": 2,  # besides these the one with the best meta-validation is kept
        }
    )

    # Over which devices the particles are split.
    config.devices = ConfigDict(
        {
            "backend": "shard_map",  # or "pmap": the same numbers
            # None: all there are (on a CPU one per core) that divide the pairs evenly.
            "count": _any(None),
            # "sequential": the particles of a device one after the other; "parallel": all at once;
            # None: the first on a CPU, the second elsewhere.
            "particles": _any(None),
            # Parameters of a tensor that a learned optimizer sees at once; None: by the platform.
            "block_size": _any(None),
        }
    )

    # Loss on fresh seeds with theta unperturbed; the best theta by it becomes bundle/.
    config.meta_validation = ConfigDict(
        {
            "every_steps": 100,  # meta-steps; 0: never, then bundle/ holds the last theta
            "num_seeds": 8,  # episodes averaged, per task
            "tasks": {},  # as above, on which theta is chosen; none: those it is trained on
        }
    )

    # The end of a run: the learned optimizer against baselines, each at the best learning rate of a
    # grid. The rate is chosen on as many other seeds as all are then judged on.
    config.comparison = ConfigDict(
        {
            "num_seeds": 8,  # 0: no comparison
            "baselines": ("adam", "adamw_cosine", "schedule_free"),  # of `lopt list baselines`
            "num_steps": _any(None),  # inner steps; None: the (longest) horizon
            "held_out": {},  # tasks, as above, that were not trained on
        }
    )
    return config


def use_schedule_free_mlp(config: ConfigDict) -> None:
    """The recipe for schedule_free_mlp on one task, by PES."""
    config.meta_steps = 400
    # Its first theta is a hand-made optimizer; what is learned are corrections to it.
    config.optimizer = ConfigDict({"name": "schedule_free_mlp"})
    config.estimator.truncation_length = 50
    config.estimator.std = 0.02
    # The decay pulls towards the first theta what the meta-gradient leaves undecided; the network
    # moves slowly, because most of what it could do to one task harms others.
    config.meta_optimizer.name = "adamw"
    config.meta_optimizer.weight_decay = 0.5
    config.meta_optimizer.learning_rate = 3e-3
    config.meta_optimizer.group_factors = ConfigDict({"scalars": 1.0, "network": 0.1})
    config.meta_optimizer.average_rate = 0.01
    config.estimator.group_std = ConfigDict({"scalars": 0.02, "network": 0.005})
    config.objective.split = "mixed"
    config.objective.valid_weight = 0.25
    config.objective.unit = "first_theta"
