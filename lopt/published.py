"""Meta-parameters that other frameworks have written, for rules that take the same steps here.

Celo2 (``celo2``, ``celo2_base``), whose first weights are in 14 pieces, one for every kind of
feature, and the per-parameter networks of learned_optimization (``mlp``, ``adafac_mlp``), as these
frameworks lay out theta in a file. Only arrangement and names differ; no number is changed.

References:
    [1] Moudgil et al. 2026, "Celo2", https://github.com/amoudgl/celo2
    [2] Metz et al. 2022, https://github.com/google/learned_optimization
"""

import difflib
import hashlib
import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from lopt.base import LOPTS, LearnedOptimizer, Theta

PIECES = (1, 1, 1, 3, 1, 3, 1, 3, 1, 3, 3, 3, 3, 3)
"""Rows of the pieces of Celo2's first weights: features of one kind, with one or three decays."""


class Layout(NamedTuple):
    """How a framework lays out the theta of a rule."""

    first: tuple[tuple[str, int], ...]
    """Pieces of the first weights, one below the other: names and numbers of rows."""
    weights: str
    """Name of the other weights [inputs, outputs], by layer."""
    biases: str
    outputs: int
    others: Mapping[str, int]
    """Name -> length of what is no network; the last part of the name is its name here too."""
    source: Mapping[str, str]
    """Where it comes from, for the card."""
    license: str | None = None
    """Of the weights that the authors have published."""


_CELO2 = Layout(
    first=tuple((f"ff_mod_stack/~/w0__{i}", rows) for i, rows in enumerate(PIECES)),
    weights="ff_mod_stack/~/w{}",
    biases="ff_mod_stack/~/b{}",
    outputs=3,
    others={},
    source={
        "framework": "https://github.com/amoudgl/celo2",
        "paper": "https://arxiv.org/abs/2602.19142",
        "copyright": "2025 Abhinav Moudgil, of the published weights",
    },
    license="MIT",
)
_LEARNED_OPTIMIZATION = {
    "framework": "https://github.com/google/learned_optimization",
    "paper": "https://arxiv.org/abs/2203.11860",
}
LAYOUTS = {
    "celo2": _CELO2,
    "celo2_base": _CELO2,
    "adafac_mlp": Layout(
        first=(("nn/~/w0", 39),),
        weights="nn/~/w{}",
        biases="nn/~/b{}",
        outputs=2,
        others={"momentum_decays": 3, "rms_decays": 1, "adafactor_decays": 3},
        source=_LEARNED_OPTIMIZATION,
    ),
    "mlp": Layout(
        first=(("mlp/~/linear_0/w", 19),),
        weights="mlp/~/linear_{}/w",
        biases="mlp/~/linear_{}/b",
        outputs=2,
        others={},
        source=_LEARNED_OPTIMIZATION,
    ),
}
"""What can be imported, by the name of the rule."""

_OTHER_STATISTICS = (
    "tells a tensor by other statistics here than the published rule, and starts its LSTM "
    "elsewhere, so that published weights would take other steps"
)
REFUSED = {
    "velo": f"velo {_OTHER_STATISTICS}",
    "rnn_mlp": f"rnn_mlp {_OTHER_STATISTICS}",
    "nn_adam": f"nn_adam {_OTHER_STATISTICS}",
    "celo": "the scheduler of Celo, an LSTM for every tensor, is no rule here; celo2 has none",
    "lstm": "no framework has published weights of it in a format that holds no code",
}
"""Why others cannot."""


def convert(name: str, arrays: Mapping[str, np.ndarray]) -> tuple[LearnedOptimizer, Theta]:
    """The rule and its theta from what a framework has written.

    The rule's other fields, such as the scale of its steps, are not in the file, and are those of
    the published rule, which are the defaults here.

    Args:
        name: of the rule, a key of ``LAYOUTS``.
        arrays: by their names in the file, whose parts are separated by slashes.

    Raises:
        ValueError: the rule cannot be imported, or an array is missing, too much, of another shape
            or not of float32; the message says which.
    """
    layout = find(name)
    count = next(i for i in itertools.count() if layout.biases.format(i) not in arrays)
    if count < 2:
        raise ValueError(
            f"this is no theta of {name}: {layout.biases.format(count)!r} is missing; it holds "
            f"{', '.join(sorted(arrays)[:6]) or 'no arrays'}."
        )
    biases = [layout.biases.format(i) for i in range(count)]
    widths = [arrays[bias].shape[-1] if arrays[bias].ndim else 0 for bias in biases]
    widths[-1] = layout.outputs
    wanted = {piece: (rows, widths[0]) for piece, rows in layout.first}
    for i, shape in enumerate(itertools.pairwise(widths), start=1):
        wanted[layout.weights.format(i)] = shape
    wanted |= {bias: (width,) for bias, width in zip(biases, widths, strict=True)}
    wanted |= {other: (length,) for other, length in layout.others.items()}
    _check(arrays, wanted, name)
    net = {"w0": np.concatenate([arrays[piece] for piece, _ in layout.first])}
    net |= {f"w{i}": arrays[layout.weights.format(i)] for i in range(1, count)}
    net |= {f"b{i}": arrays[bias] for i, bias in enumerate(biases)}
    make: Any = LOPTS[name]
    return make(hidden=tuple(widths[:-1])), {
        "mlp": net,
        **{other: arrays[other] for other in layout.others},
    }


def card(name: str, content: bytes, license_: str | None) -> dict[str, Any]:
    """The model card: where the theta comes from.

    Args:
        name: of the rule.
        content: of the file that held it.
        license_: an SPDX expression; None means that of the weights which the authors published.

    Raises:
        ValueError: the rule cannot be imported, or no licence is known.
    """
    layout = find(name)
    if license_ is None and layout.license is None:
        raise ValueError(f"say under which licence this theta of {name} is, as in Apache-2.0.")
    return {
        "title": f"{name}, imported",
        "license": license_ or layout.license,
        "source": {**layout.source, "file_sha256": hashlib.sha256(content).hexdigest()},
    }


def find(name: str) -> Layout:
    """The layout of a rule's theta.

    Raises:
        ValueError: there is none; the message says why.
    """
    if name in LAYOUTS:
        return LAYOUTS[name]
    known = ", ".join(LAYOUTS)
    if name in REFUSED:
        raise ValueError(f"{name!r} cannot be imported: {REFUSED[name]}. Known are {known}.")
    near = difflib.get_close_matches(name, LAYOUTS, 1)
    meant = f"did you mean {near[0]!r}?" if near else f"known are {known}."
    raise ValueError(f"{name!r} is no rule whose published theta can be imported; {meant}")


def _check(
    arrays: Mapping[str, np.ndarray], wanted: Mapping[str, tuple[int, ...]], name: str
) -> None:
    for key in sorted(wanted.keys() | arrays.keys()):
        found = f"{arrays[key].dtype} {list(arrays[key].shape)}" if key in arrays else "missing"
        expected = f"float32 {list(wanted[key])}" if key in wanted else "absent"
        if found != expected:
            raise ValueError(
                f"this is no theta of {name}: {key!r} is {found}, but should be {expected}."
            )
