"""Run with eight CPU devices by test_sharding.py; prints facts about sharded optimizers as JSON.

python sharding_program.py few|all
"""

import contextlib
import itertools
import json
import math
import re
import sys
import tempfile
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

import lopt
from lopt import blocks

SPECS = {"w": P("x", "y"), "b": P("y")}
SHAPES = {"w": (32, 8), "b": (24,)}
COMPILED = []
"""Grows with every compilation."""
KINDS = {"auto": AxisType.Auto, "explicit": AxisType.Explicit}


def make_mesh(kind, shape=(4, 2)):
    devices = np.array(jax.devices()[: math.prod(shape)]).reshape(shape)
    return Mesh(devices, ("x", "y"), axis_types=(KINDS[kind],) * 2)


def inside(mesh):
    """The context in which arrays of explicit types live."""
    explicit = AxisType.Explicit in mesh.axis_types
    return jax.set_mesh(mesh) if explicit else contextlib.nullcontext()


def draw(seed, mesh=None, specs=SPECS):
    draw = np.random.default_rng(seed).normal
    tree = {name: np.float32(draw(size=shape)) for name, shape in SHAPES.items()}
    if mesh is None:
        return tree
    return {k: jax.device_put(x, NamedSharding(mesh, specs[k])) for k, x in tree.items()}


def make(name):
    """An optimizer with a theta that costs no compilation to draw."""
    rule = lopt.LOPTS[name]()
    shapes = jax.eval_shape(rule.init, jax.random.key(0))
    draw = np.random.default_rng(0).normal
    return rule.bind(jax.tree.map(lambda x: np.float32(draw(0, 0.1, x.shape)), shapes), 50)


def train_step(tx):
    def step(grads, state, params):
        updates, state = tx.update(grads, state, params, value=jnp.float32(1.0))
        return updates, state, optax.apply_updates(params, updates)

    return step


def expected_spec(name, shape, specs):
    """Of an array that a state keeps for a parameter.

    With the parameter's shape behind leading axes, where axes over which was averaged have length
    1, it is split like the parameter; anything else is on all devices.
    """
    of_param = SHAPES.get(name, ())
    leading = len(shape) - len(of_param)
    axes = list(zip(shape[max(leading, 0) :], of_param, strict=False))
    if name not in SHAPES or leading < 0 or any(n not in (1, m) for n, m in axes):
        return P()
    split = itertools.zip_longest(specs[name], shape[leading:])
    return P(*[None] * leading, *(axis if n > 1 else None for axis, n in split))


def misplaced(state, mesh, specs=SPECS):
    """Leaves of a state that are not where they should be."""
    found = []
    for path, x in jax.tree_util.tree_leaves_with_path(state):
        spec = expected_spec(getattr(path[-1], "key", None), x.shape, specs)
        if not x.sharding.is_equivalent_to(NamedSharding(mesh, spec), x.ndim):
            found.append(f"{jax.tree_util.keystr(path)} {x.shape} {x.sharding} is not {spec}")
    return found


def types(tree):
    """Shapes, dtypes and, of explicit types, shardings."""
    return jax.tree.map(lambda x: str(jax.typeof(x)), tree)


def gathered(compiled):
    """Shapes of at least a parameter's size that devices send whole to one another."""
    pattern = r"= \(?\w+\[([\d,]*)\]\S* (?:all-gather|all-to-all|collective-permute)"
    sizes = [math.prod(map(int, filter(None, s.split(",")))) for s in re.findall(pattern, compiled)]
    return [size for size in sizes if size >= min(map(math.prod, SHAPES.values()))]


def largest_error(found, expected):
    """Of updates, as a fraction of the largest update of each tensor."""
    errors = jax.tree.map(lambda a, b: np.max(np.abs(a - b)) / np.max(np.abs(b)), found, expected)
    return float(max(jax.tree.leaves(errors)))


def on_one_device(tx):
    """Updates of two steps of what is not split."""
    mesh = Mesh(np.array(jax.devices()[:1]), ("one",), axis_types=(AxisType.Auto,))
    step = jax.jit(
        jax.shard_map(train_step(tx), mesh=mesh, in_specs=P(), out_specs=P(), check_vma=False)
    )
    params, state, found = draw(0), tx.init(draw(0)), []
    for seed in (1, 2):
        updates, state, params = step(draw(seed), state, params)
        found.append(jax.device_get(updates))
    return found


def under_jit(tx, mesh):
    """Two steps that donate everything, after one compilation."""
    params, grads, found = draw(0, mesh), [draw(seed, mesh) for seed in (1, 2)], []
    with inside(mesh):
        state = tx.init(params)
        first, wrong = types(state), misplaced(state, mesh)
        step = jax.jit(train_step(tx), donate_argnums=(0, 1, 2))
        compiled = step.lower(grads[0], state, params).compile()
        already = len(COMPILED)
        for given in grads:
            before = given, state, params
            updates, state, params = step(*before)
            found.append(jax.device_get(updates))
    return found, {
        "misplaced": wrong + misplaced(state, mesh),
        "same_types": first == types(state),
        "updates": types(updates) == types(params) == types(draw(0, mesh)),
        "gathered": gathered(compiled.as_text()),
        "donated": all(x.is_deleted() for x in jax.tree.leaves(before)),
        "num_compiled": len(COMPILED) - already,
    }


def outside_jit(tx, mesh):
    params = draw(0, mesh)
    with inside(mesh):
        state = tx.init(params)
        updates, after, _ = train_step(tx)(draw(1, mesh), state, params)
        return {
            "misplaced": misplaced(after, mesh),
            "same_types": types(state) == types(after),
            "updates": types(updates) == types(params),
        }


def explicit_types(tx):
    """Traced only: the shardings are in the types."""
    mesh = make_mesh("explicit")
    with inside(mesh):
        params = draw(0, mesh)
        state = jax.eval_shape(tx.init, params)
        updates, after, _ = jax.eval_shape(train_step(tx), params, state, params)
        return {
            "misplaced": misplaced(tx.init(params), mesh),
            "same_types": types(state) == types(after) == types(tx.init(params)),
            "updates": types(updates) == types(params),
        }


def abstract_init(tx):
    """From shapes alone, and from shapes with shardings."""
    mesh = make_mesh("auto")
    shapes = jax.eval_shape(lambda: draw(0))
    placed = {
        name: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=NamedSharding(mesh, SPECS[name]))
        for name, x in shapes.items()
    }
    state = tx.init(draw(0))
    same = jax.tree.structure(tx.init(shapes)) == jax.tree.structure(state)
    return {"same_types": same, "misplaced": misplaced(tx.init(placed), mesh)}


def helper(tx):
    """``state_sharding`` says where ``init`` puts things."""
    mesh = make_mesh("auto")
    params = draw(0, mesh)
    wanted, state = lopt.state_sharding(tx, params), tx.init(params)
    pairs = zip(jax.tree.leaves(wanted), jax.tree.leaves(state), strict=True)
    return {"as_init": all(one.is_equivalent_to(x.sharding, x.ndim) for one, x in pairs)}


WRAPPERS = {
    "chain": lambda tx: optax.chain(optax.clip_by_global_norm(1.0), lopt.with_options(tx)),
    "masked": lambda tx: optax.masked(tx, {"w": True, "b": False}),
    "partition": lambda tx: optax.partition(
        {"learned": tx, "frozen": optax.set_to_zero()}, {"w": "learned", "b": "frozen"}
    ),
    "MultiSteps": lambda tx: optax.MultiSteps(tx, 2),
    "inject_hyperparams": lambda tx: optax.inject_hyperparams(
        lambda decay: lopt.with_options(tx, weight_decay=decay)
    )(decay=0.1),
    "schedule": lambda tx: lopt.with_options(
        tx, weight_decay=0.1, learning_rate_multiplier=optax.linear_schedule(1.0, 0.0, 9)
    ),
}


def helper_inside_wrappers(tx):
    """What ``jit(tx.init)`` returns with the helper's shardings."""
    mesh = make_mesh("auto")
    params = draw(0, mesh)
    shapes = jax.eval_shape(lambda: params)
    where = {name: NamedSharding(mesh, spec) for name, spec in SPECS.items()}
    found = {}
    for name, wrap in WRAPPERS.items():
        wrapped = wrap(tx)
        init = jax.jit(wrapped.init, out_shardings=lopt.state_sharding(wrapped, shapes, where))
        found[name] = misplaced(init(params), mesh)
    return found


def refused(tx):
    """Messages about what cannot be split."""
    mesh, other = make_mesh("auto"), make_mesh("auto", (2, 4))
    params = jax.eval_shape(lambda: draw(0))
    messages = {}
    for name, shardings in {
        "odd": {"w": NamedSharding(mesh, P(None, ("x", "y"))), "b": NamedSharding(mesh, P())},
        "axes": NamedSharding(mesh, P(None, None, "x")),
        "tree": {"w": NamedSharding(mesh, P())},
        "kind": P("x"),
        "meshes": {"w": NamedSharding(mesh, P()), "b": NamedSharding(other, P())},
        "nowhere": None,
    }.items():
        odd = {**params, "w": jax.ShapeDtypeStruct((3, 7), np.float32)}
        try:
            lopt.state_sharding(tx, odd if name == "odd" else params, shardings)
        except ValueError as error:
            messages[name] = str(error)
    return messages


def checkpoint(tx):
    """A state saved on eight devices, loaded on four and on one, split in other ways."""
    from orbax.checkpoint import v1 as ocp

    params = draw(0, make_mesh("auto"))
    state = tx.init(params)
    state = state._replace(momenta=jax.tree.map(lambda m, p: m + p, state.momenta, params))
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        ocp.save(Path(folder) / "state", state)
        for count, specs in ((4, {"w": P("y"), "b": P(("x", "y"))}), (1, {"w": P(), "b": P("x")})):
            mesh = make_mesh("auto", (count // 2 or 1, min(count, 2)))
            where = {name: NamedSharding(mesh, spec) for name, spec in specs.items()}
            wanted = jax.tree.map(
                lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
                jax.eval_shape(tx.init, params),
                lopt.state_sharding(tx, params, where),
            )
            loaded = ocp.load(Path(folder) / "state", wanted)
            equal = jax.tree.map(lambda a, b: np.array_equal(a, b), loaded, state)
            found[count] = {
                "equal": all(jax.tree.leaves(equal)),
                "misplaced": misplaced(loaded, mesh, specs),
            }
    return found


def facts_of(name, everything):
    tx = make(name)
    facts = {"abstract": abstract_init(tx), "helper": helper(tx)}
    found = {}
    with blocks.block_size(4):  # so that tensors are taken in pieces
        facts["explicit types"] = explicit_types(tx)
        for kind in KINDS if everything else ["auto"]:
            found[kind], facts[f"{kind} jit"] = under_jit(tx, make_mesh(kind))
        for kind in KINDS if everything else []:
            facts[f"{kind} eager"] = outside_jit(tx, make_mesh(kind))
    if everything or name in ("lstm", "rnn_mlp"):
        expected = on_one_device(tx)
        for kind, updates in found.items():
            facts[f"{kind} jit"]["error"] = largest_error(updates, expected)
    return facts


def flattened(tx):
    """The same step written as for one device, where tensors are flattened: a control."""
    mesh = make_mesh("auto")
    params, grads = draw(0, mesh), draw(1, mesh)
    with mock.patch.object(blocks, "max_shards", return_value=1):
        step = jax.jit(train_step(tx)).lower(grads, tx.init(params), params)
    return gathered(step.compile().as_text())


def main() -> None:
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, *_, **__: COMPILED.append(event) if "backend_compile" in event else None
    )
    everything = sys.argv[1] == "all"
    results = {"rules": {name: facts_of(name, everything) for name in lopt.LOPTS}}
    tx = make("mlp")
    for part in (helper_inside_wrappers, refused, checkpoint, flattened):
        results[part.__name__] = part(tx)
    if not everything:
        results["rules"]["mlp"]["explicit eager"] = outside_jit(tx, make_mesh("explicit"))
    print("RESULTS", json.dumps(results))


if __name__ == "__main__":
    main()
