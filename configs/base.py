"""Every field of a meta-training config with its default; the experiment files change a few.

Values may be changed on the command line: --config.estimator.std=0.02. Sections that have a
`name` take, besides what stands here, the fields of the thing that is named (`lopt list`).
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any, Literal

from ml_collections import ConfigDict
from msgspec import Meta

from configs import Count, Index, Named, NotNegative, Positive, Section, Share


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskEntry(Named):
    """A task by its name, its weight, and its own fields. The name is the label by default."""

    weight: Positive = 1.0
    """Its part in a mean over tasks, beside the weights of the others."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class System(Named):
    """What is unrolled: "lopt", the training of `tasks` with `optimizer`, or another of SYSTEMS.

    With another one, `optimizer`, `tasks` and `objective` are not looked at.
    """

    name: str = "lopt"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optimizer(Named):
    """The learned optimizer; its fields are sizes, step multipliers and the like."""

    name: str = "mlp"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimator(Named):
    """The estimator of the meta-gradient."""

    name: str = "pes"
    horizon: int | Mapping[str, Any] | None = 1000
    """T, inner steps of one episode: a number, or a dict such as
    {"name": "log_uniform", "low": 100, "high": 1000}. With None episodes never end, which is for
    systems other than the training of tasks."""
    truncation_length: Count | None = 20
    """K, inner steps of one meta-step. None: T."""
    mean_over: str = "steps"
    """Where T is random, "steps" weighs every inner step alike, "episodes" every episode."""
    num_pairs: Count = 8
    """Antithetic pairs of particles, on each task."""
    std: float = 0.01
    """Standard deviation sigma of the perturbation, in units of theta."""
    group_std: Mapping[str, NotNegative] | None = None
    """{"scalars": 0.02, ...}: a std for each of theta's top-level groups in the place of `std`. 0
    leaves a group as it is. Groups that theta lacks are left out."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule(Section):
    """The learning rate of the meta-optimizer over the meta-steps."""

    name: str = "cosine"
    """Its way down from the peak: "cosine", "linear" or "exponential"; "constant" stays there."""
    warmup_fraction: Annotated[float, Meta(ge=0, lt=1, description="at least 0 and below 1")] = 0.05
    """Part of the meta-steps in which it first rises from 0, linearly."""
    final_fraction: Share = 0.05
    """Part of the peak that is left at the last meta-step."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MetaOptimizer(Named):
    """Any optimizer of optax by its name there, with its arguments as fields.

    The name may also be "chain", with the field transforms = ({"name": ..., arguments}, ...).
    """

    name: str = "adam"
    # A long memory of the large gradients of the first meta-steps would only slow Adam down.
    fields: Mapping[str, Any] = field(default_factory=lambda: {"b2": 0.99})
    learning_rate: float = 2e-3
    """The peak of its schedule."""
    schedule: Schedule = field(default_factory=Schedule)
    clip_norm: Positive | None = 1.0
    """Largest global norm of the meta-gradient. None: no limit."""
    clip_value: Positive | None = None
    """Largest size of one coordinate of the meta-gradient. None: no limit."""
    group_factors: Mapping[str, NotNegative] | None = None
    """Factor on the learning rate of each of theta's top-level groups, {"network": 0.1, ...}. 0
    leaves a group as it is, and those that theta lacks are left out. None: 1 for all."""
    average_rate: Annotated[float, Meta(gt=0, le=1, description="above 0 and at most 1")] | None = (
        None
    )
    """Rate at which an average of theta follows it, which is validated and bundled in its place. It
    remembers about 1 / rate meta-steps. None: no average."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Objective(Section):
    """What theta is trained for."""

    kind: str = "mean"
    """"mean": the inner loss over the whole episode; "final": that of its last step."""
    split: str = "train"
    """Batches on which it is measured: "train", "valid" or, of both, "mixed"."""
    valid_weight: float = 0.5
    """Weight of the validation loss in "mixed"."""
    measure: str = "loss"
    """"loss", the task's, or "error", one minus its accuracy, which is not differentiable."""
    clip: float | None = 4.0
    """Bound of one step's loss, in multiples of the initial loss. None: no bound."""
    normalize: bool = False
    """Whether to divide by the initial loss, so that tasks weigh alike."""
    unit: Literal["first_theta"] | None = None
    """"first_theta": divide by the mean meta-loss of the run's first theta on the task, so that the
    meta-gradient is that of the mean log loss there. Meta-validation then takes the geometric mean
    over tasks."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class BadSteps(Section):
    """Meta-steps that change nothing: no finite meta-loss or meta-gradient, or too large a one."""

    max_grad_norm: Positive | None = 1e6
    """Largest norm of a meta-gradient that is followed. None: any finite norm is good."""
    max_in_a_row: Count = 50
    """The run stops after so many; its last good checkpoint stays."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoint(Section):
    """Saving the state of the run, from which the same command resumes where it was stopped."""

    every_steps: Index = 100
    """Meta-steps between two. 0: only at the end and when stopped by a signal."""
    keep_latest: Count = 2
    """Besides these the one with the best meta-validation is kept."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Devices(Section):
    """The devices over which the particles are split."""

    backend: str = "shard_map"
    """"shard_map" or "pmap"; both give the same numbers."""
    count: int | None = None
    """None: all there are (on a CPU one per core) that divide the pairs evenly."""
    particles: str | None = None
    """"sequential": the particles of a device one after the other; "parallel": all at once; None:
    the first on a CPU (but for partners of a pair whose states are small), the second elsewhere."""
    block_size: int | None = None
    """Parameters of a tensor that a learned optimizer sees at once. None: by the platform."""
    update_kernel: str = "auto"
    """What updates large tensors: "jnp", "pallas" (Triton on GPUs, Mosaic on TPUs; never timed on
    hardware yet), or "auto", which is "jnp" until it has been."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MetaValidation(Section):
    """The loss on fresh seeds with theta unperturbed; the best theta by it becomes bundle/."""

    every_steps: Index = 100
    """Meta-steps between two. 0: never; bundle/ then holds the last theta."""
    num_seeds: Count = 8
    """Episodes that are averaged, on each task."""
    tasks: Mapping[str, TaskEntry] = field(default_factory=dict)
    """Tasks by label on which theta is chosen. None named: those that it is trained on."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison(Section):
    """The end of a run: the learned optimizer against baselines at their best learning rates.

    The rate of each baseline is chosen from a grid, on other seeds than all are then judged on.
    """

    num_seeds: Index = 8
    """Training runs of each on every task, at least 2. 0: no comparison."""
    baselines: tuple[str, ...] = ("adam", "adamw_cosine", "schedule_free")
    """Names of `lopt list baselines`."""
    num_steps: Count | None = None
    """Inner steps of every training run. None: the (longest) horizon."""
    held_out: Mapping[str, TaskEntry] = field(default_factory=dict)
    """Tasks by label that theta was not trained on, to judge it on besides `tasks`."""

    def __post_init__(self) -> None:
        if self.num_seeds == 1:
            raise ValueError("num_seeds = 1 must be at least 2, or 0 for no comparison")
        if not self.baselines:
            raise ValueError(
                "baselines is empty; name some of `lopt list baselines`, or set "
                "config.comparison.num_seeds = 0 for no comparison"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig(Section):
    """A meta-training run."""

    seed: Index = 0
    """Every random number of the run follows from it."""
    meta_steps: Count = 1000
    """Updates of theta."""
    steps_per_dispatch: Count = 1
    """Meta-steps in one call into XLA; more of them pay when one takes less than 10 ms."""
    log_every_steps: Count = 1
    """Every so many meta-steps go into metrics.jsonl, and to the writers."""
    writers: tuple[str, ...] = ("tensorboard",)
    """Who gets the records besides metrics.jsonl: "tensorboard" (events/), "wandb" (wandb/, offline
    unless the environment has WANDB_MODE=online), "mlflow" (mlflow/mlflow.db, or the server of
    MLFLOW_TRACKING_URI). A resumed run continues in the same run of a tracker."""
    profile: tuple[Count, Count] | None = None
    """First and last meta-step of a window that jax.profiler traces into profile/. The first of a
    run is 1, and includes what happens once. None: no trace."""
    data_dir: str | None = None
    """Folder of prepared data sets. None: that of `lopt data list`."""
    data_limit_mb: Positive | None = None
    """What the images of each task may take on a device. A larger data set streams: the device has
    windows of it, random parts of its train split, one after the other. Validations and comparisons
    have the first. None: every data set is held whole."""
    steps_per_window: Count = 10
    """Meta-steps that draw from the same window. A dispatch ends with its window."""
    imports: tuple[str, ...] = ()
    """Modules or .py files that register more optimizers, tasks, systems and so on."""
    system: System = field(default_factory=System)
    optimizer: Optimizer = field(default_factory=Optimizer)
    init_from: str | None = None
    """A bundle, by folder or shipped name, or the work folder of another run, whose theta the first
    theta takes over, group by group where both have it in the same shapes: the scalars of an
    earlier phase, say."""
    tasks: Mapping[str, TaskEntry] = field(
        default_factory=lambda: {"digits_mlp": TaskEntry(name="digits_mlp")}
    )
    """Tasks by label. The meta-gradient is the mean over tasks by weight; every task has particles
    of its own."""
    systems_per_step: int | None = None
    """Tasks that each meta-step takes, drawn by weight. None: all. Fewer are faster, and
    noisier."""
    system_clip_norm: Positive | None = None
    """Largest norm of one task's meta-gradient, before the mean over tasks. None: no limit."""
    estimator: Estimator = field(default_factory=Estimator)
    meta_optimizer: MetaOptimizer = field(default_factory=MetaOptimizer)
    objective: Objective = field(default_factory=Objective)
    bad_steps: BadSteps = field(default_factory=BadSteps)
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    devices: Devices = field(default_factory=Devices)
    meta_validation: MetaValidation = field(default_factory=MetaValidation)
    comparison: Comparison = field(default_factory=Comparison)

    def __post_init__(self) -> None:
        if self.profile is not None and not self.profile[0] <= self.profile[1] <= self.meta_steps:
            raise ValueError(
                f"profile = {self.profile} must be the first and the last of meta-steps between 1 "
                f"and meta_steps = {self.meta_steps}"
            )

    @property
    def subject(self) -> str:
        """What is meta-trained, in a word."""
        return self.optimizer.name if self.system.name == "lopt" else "theta"

    @property
    def goal(self) -> str:
        """What it is meta-trained on, in a few words."""
        return ", ".join(self.tasks) if self.system.name == "lopt" else self.system.name


def get_config() -> Any:
    """A ``ConfigDict`` of all fields, whose values are checked when all have been set."""
    return ConfigDict(RunConfig().to_dict(), type_safe=False)


def use_constant_adam(config: Any, learning_rate: float) -> None:
    """Adam as it is, for systems of a few meta-parameters."""
    config.meta_optimizer.learning_rate = learning_rate
    config.meta_optimizer.b2 = 0.999
    config.meta_optimizer.schedule.name = "constant"
    config.meta_optimizer.clip_norm = None


def use_schedule_free_mlp(config: Any) -> None:
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
