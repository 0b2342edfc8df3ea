"""MuJoCo's Swimmer with a linear policy, on MJX: three links in a viscous fluid, two motors.

[1] Coulom, "Reinforcement Learning Using Neural Networks, with Applications to Motor Control",
    2002; the model and the reward are those of gymnasium's Swimmer-v5.
"""

import contextlib
import importlib
import importlib.util
import os
from pathlib import Path
from typing import Any, ClassVar

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from meta_train.systems.control import Environment, LinearPolicy

_MODEL = "envs/mujoco/assets/swimmer.xml"
_FRAMES = 4
"""Steps of the physics within one step of the environment."""
_NOISE = 0.1
"""Largest size of the first positions and velocities."""
_CONTROL_COST = 1e-4
_HIDDEN = 2
"""Positions that are not observed: where the swimmer is in the plane."""

Physics = tuple[Float[Array, " positions"], Float[Array, " velocities"]]


@flax.struct.dataclass
class Swimmer(Environment):
    """Reward: forward speed, less 1e-4 times the squared actions, which lie in [-1, 1].

    Args:
        model: ``mjx.Model``.
        blank: ``mjx.Data`` of it, whose positions, velocities and controls are replaced.
    """

    num_actions: ClassVar[int] = 2

    model: Any
    blank: Any

    def reset(self, key: jax.Array) -> Physics:
        sizes = len(self.blank.qpos), len(self.blank.qvel)
        both = jax.random.uniform(key, (sum(sizes),), minval=-_NOISE, maxval=_NOISE)
        return both[: sizes[0]], both[sizes[0] :]

    def observe(self, state: Physics) -> Float[Array, " observations"]:
        positions, velocities = state
        return jnp.concatenate([positions[_HIDDEN:], velocities])

    def step(
        self, state: Physics, action: Float[Array, " actions"]
    ) -> tuple[Physics, Float[Array, ""]]:
        mjx = _import("mujoco.mjx")
        action = jnp.clip(action, -1.0, 1.0)
        data = self.blank.replace(qpos=state[0], qvel=state[1], ctrl=action)
        with jax.numpy_rank_promotion("allow"):  # as MJX is written
            data = jax.lax.fori_loop(0, _FRAMES, lambda _, data: mjx.step(self.model, data), data)
        speed = (data.qpos[0] - state[0][0]) / (_FRAMES * self.model.opt.timestep)
        return (data.qpos, data.qvel), speed - _CONTROL_COST * jnp.sum(jnp.square(action))


def swimmer() -> LinearPolicy:
    """A linear policy with 16 parameters that makes MuJoCo's Swimmer swim.

    Raises:
        ValueError: the packages of the extra "control" are not installed.
    """
    file = model_file()
    mujoco, mjx = _import("mujoco"), _import("mujoco.mjx")
    model = mjx.put_model(mujoco.MjModel.from_xml_path(str(file)))
    return LinearPolicy(Swimmer(model, mjx.make_data(model)))


def model_file() -> Path:
    """The model, a file of gymnasium's, which is not imported.

    Raises:
        ValueError: see ``swimmer``.
    """
    gymnasium, mujoco = map(importlib.util.find_spec, ("gymnasium", "mujoco"))
    if gymnasium is None or gymnasium.origin is None or mujoco is None:
        raise ValueError(
            "the system swimmer needs mujoco-mjx and gymnasium; install them with "
            "`pip install 'lopt[control]'`"
        )
    return Path(gymnasium.origin).parent / _MODEL


def _import(name: str) -> Any:
    """A module of the extra; MJX prints on import which of its own extras are missing."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        return importlib.import_module(name)
