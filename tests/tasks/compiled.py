"""Methods of a task as programs: of eager ones, every operation would be compiled on its own."""

import functools

import jax


@jax.jit
def sample(task, key):
    return task.sample(key)


@jax.jit
def init(task, key, cfg):
    return task.init(key, cfg)


@functools.partial(jax.jit, static_argnames="split")
def batch(task, key, cfg, split):
    return task.batch(key, cfg, split)


@jax.jit
def loss(task, key, cfg, params, batch):
    return task.loss(key, cfg, params, batch)
