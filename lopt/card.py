"""The model card of an exported optimizer: what to know before using it."""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from lopt.card_limits import limits

DEFAULT_LICENSE = "Apache-2.0"
"""Licence of weights whose card names none."""

_SPDX = re.compile(r"[A-Za-z0-9.+()-]+( [A-Za-z0-9.+()-]+)*")
_PLACED = ("title", "description", "horizon", "license", "meta_training", "evaluation")

_USE = """\
```python
import lopt
import optax

optimizer = lopt.load(PATH_OF_THIS_FOLDER, num_steps=STEPS_OF_YOUR_TRAINING)
state = optimizer.init(params)
updates, state = optimizer.update(grads, state, params, value=loss)
params = optax.apply_updates(params, updates)
...
params = lopt.evaluation_params(state, params)  # what to validate and deploy
```

The optimizer is an `optax.GradientTransformationExtraArgs`. Loading it executes nothing that is \
in this folder."""


def complete(card: Mapping[str, Any]) -> dict[str, Any]:
    """The card as plain JSON data, with a licence.

    Numpy and JAX scalars become numbers, arrays lists, and numbers that JSON lacks (NaN and the
    infinities) None.

    Raises:
        ValueError: if an entry is of another kind, or the licence no SPDX expression.
    """
    facts = {str(key): _plain(entry, f"card[{key!r}]") for key, entry in card.items()}
    license_ = facts.setdefault("license", DEFAULT_LICENSE)
    if not isinstance(license_, str) or not _SPDX.fullmatch(license_):
        raise ValueError(
            f"card['license'] = {license_!r} must be an SPDX expression such as 'Apache-2.0', "
            "'CC-BY-4.0' or 'LicenseRef-proprietary'."
        )
    return facts


def render(optimizer: Mapping[str, Any], num_meta_parameters: int, card: Mapping[str, Any]) -> str:
    """The card as Markdown, with the metadata that model hubs read.

    Args:
        optimizer: its ``name``, ``fields`` and ``feature_version``.
        num_meta_parameters: size of theta.
        card: plain JSON data. ``title``, ``description``, ``license``, ``horizon``,
            ``meta_training`` (a mapping; in it ``tasks``, a list of mappings with a ``label``) and
            ``evaluation`` (a list of mappings with ``task``, ``optimizer``, ``mean_loss`` and, if
            they apply, ``axis``, ``held_out`` and ``diverged``; the optimizer of this bundle is
            called "learned" and has an ``outcome``: whether its loss is "lower" or "higher" than
            that of the best other one, or the difference "unclear") have their own places; every
            other entry becomes a section.
    """
    name, horizon = optimizer["name"], card.get("horizon")
    rule = {
        "name": name,
        "meta-parameters": num_meta_parameters,
        **optimizer["fields"],
        "feature version": optimizer["feature_version"],
    }
    sections = {
        "Use": _USE,
        "Rule": _body(rule),
        "Horizon": f"Meta-trained for {horizon} inner steps." if horizon else "Not stated.",
        "Meta-training": _body(card.get("meta_training")),
        "Evaluation": _body(card.get("evaluation")),
        **{_heading(key): _body(entry) for key, entry in card.items() if key not in _PLACED},
        "License": _cell(card.get("license")),
        "Limits": "\n".join(f"- {limit}" for limit in limits(card)),
    }
    parts = [
        f"---\n{_hub_license(str(card.get('license')))}\nlibrary_name: lopt\n"
        "tags:\n- learned-optimizer\n- jax\n- optax\n---",
        f"# {card.get('title') or f'Learned optimizer {name}'}",
        str(card.get("description") or "A learned optimizer, meta-trained and exported by lopt."),
        *(f"## {heading}\n\n{body}" for heading, body in sections.items()),
    ]
    return "\n\n".join(parts) + "\n"


def _hub_license(license_: str) -> str:
    """As hubs read it: one licence by its identifier in lower case, all else by a name."""
    name = license_.lower()
    is_known = " " not in name and not name.startswith("licenseref-")
    return f"license: {name}" if is_known else f"license: other\nlicense_name: {name}"


def _plain(entry: Any, where: str) -> Any:
    if isinstance(entry, Mapping):
        return {str(key): _plain(x, f"{where}[{key!r}]") for key, x in entry.items()}
    if isinstance(entry, (list, tuple)):
        return [_plain(x, f"{where}[{i}]") for i, x in enumerate(entry)]
    if hasattr(entry, "tolist"):
        return _plain(entry.tolist(), where)
    if isinstance(entry, float):
        return entry if math.isfinite(entry) else None
    if entry is None or isinstance(entry, (bool, int, str)):
        return entry
    raise ValueError(
        f"{where} is a {type(entry).__name__}, but a card holds only text, numbers, lists and "
        "mappings."
    )


def _body(entry: Any) -> str:
    """Any entry as Markdown: mappings and lists of mappings as tables."""
    if entry is None or entry in ("", [], {}):
        return "None recorded."
    if _is_rows(entry):
        return _rows(entry)
    if not isinstance(entry, Mapping):
        return _cell(entry)
    below = {key: value for key, value in entry.items() if _is_rows(value)}
    lines = [f"| {_cell(key)} | {_cell(x)} |" for key, x in entry.items() if key not in below]
    tables = ["\n".join(["| | |", "|---|---|", *lines])] if lines else []
    return "\n\n".join(
        [*tables, *(f"### {_heading(key)}\n\n{_rows(x)}" for key, x in below.items())]
    )


def _rows(rows: list[Mapping[str, Any]]) -> str:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [[_cell(row.get(key, "")) for key in columns] for row in rows]
    table = [[_cell(key) for key in columns], ["---"] * len(columns), *lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in table)


def _is_rows(entry: Any) -> bool:
    return isinstance(entry, list) and entry != [] and all(isinstance(x, Mapping) for x in entry)


def _heading(key: str) -> str:
    return key.replace("_", " ").replace("\n", " ").capitalize()


def _cell(entry: Any) -> str:
    if isinstance(entry, float):
        entry = f"{entry:.4g}"
    text = entry if isinstance(entry, str) else json.dumps(entry)
    return text.replace("|", "\\|").replace("\n", " ")
