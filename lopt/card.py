"""The model card of an exported optimizer: what to know before using it."""

import json
import math
from collections.abc import Mapping
from typing import Any


def to_json(card: Mapping[str, Any]) -> dict[str, Any]:
    """The card as plain JSON data.

    Numpy and JAX scalars become numbers, arrays lists, and numbers that JSON lacks (NaN and the
    infinities) None.

    Raises:
        ValueError: if an entry is of another kind.
    """
    return {str(key): _plain(entry, f"card[{key!r}]") for key, entry in card.items()}


def render(
    name: str, fields: Mapping[str, Any], num_meta_parameters: int, card: Mapping[str, Any]
) -> str:
    """The card as Markdown.

    Args:
        name: the optimizer's registered name.
        fields: its hyperparameters.
        num_meta_parameters: size of theta.
        card: plain JSON data. ``title``, ``description``, ``horizon`` and ``evaluation`` (a list
            of rows, each a mapping) have their own places; every other entry becomes a section.
    """
    rest = {
        key: entry
        for key, entry in card.items()
        if key not in ("title", "description", "horizon", "evaluation")
    }
    horizon = card.get("horizon")
    parts = [
        f"# {card.get('title') or f'Learned optimizer {name}'}",
        str(card.get("description") or "A learned optimizer, meta-trained and exported by lopt."),
        "## Use\n\n```python\nimport lopt\n\noptimizer = lopt.load(PATH_OF_THIS_FOLDER)"
        "  # an optax.GradientTransformationExtraArgs\n```",
        "Pass the parameters to every update: `optimizer.update(grads, state, params)`.",
        "## Rule\n\n"
        + _table({"name": name, "meta-parameters": num_meta_parameters} | dict(fields)),
        "## Horizon\n\n"
        + (
            f"Meta-trained for {horizon} inner steps; longer trainings are extrapolation."
            if horizon
            else "Not stated."
        ),
    ]
    for key, entry in rest.items():
        body = _table(entry) if isinstance(entry, Mapping) and entry else _cell(entry)
        parts.append(f"## {key.replace('_', ' ').capitalize()}\n\n{body}")
    parts.append(f"## Evaluation\n\n{_evaluation(card.get('evaluation'))}")
    return "\n\n".join(parts) + "\n"


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


def _cell(entry: Any) -> str:
    text = entry if isinstance(entry, str) else json.dumps(entry)
    return text.replace("|", "\\|").replace("\n", " ")


def _table(rows: Mapping[str, Any]) -> str:
    lines = [f"| {_cell(key)} | {_cell(entry)} |" for key, entry in rows.items()]
    return "\n".join(["| | |", "|---|---|", *lines])


def _evaluation(rows: Any) -> str:
    if not rows:
        return "None recorded."
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        return _table(rows) if isinstance(rows, Mapping) else _cell(rows)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = ["| " + " | ".join(_cell(row.get(key, "")) for key in columns) + " |" for row in rows]
    head = ["| " + " | ".join(_cell(key) for key in columns) + " |", "|" + "---|" * len(columns)]
    return "\n".join([*head, *lines])
