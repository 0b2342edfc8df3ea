"""Tables of what was measured, in Markdown."""

import datetime
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Result = Mapping[str, Any]

_METHOD = (
    "Medians over {turns} turns, with quartiles; the cases of a group, and their competitors, took "
    "turns. Seconds are {clock}."
)
_LIMIT = (
    "Of the limit: the time that the least work would take at the rates measured here, over the "
    "time that was taken. Work is the sum of products of matrices, other arithmetic, division and "
    "roots, exp and tanh, and random bits, each at its own rate, or the state read and written "
    "once in every inner step at that of a copy of its size, if that takes longer."
)


def markdown(
    results: Sequence[Result],
    turns: int,
    cores: int | None,
    random: Iterable[str],
    before: Sequence[Result] = (),
) -> str:
    """The report.

    Args:
        results: see ``measure``.
        turns: of each case.
        cores: that each process was limited to, if it was.
        random: data sets in whose place random images stood.
        before: results of an earlier run, whose rates stand beside these.
    """
    clock = "processor time of the one core" if cores == 1 else "elapsed time"
    parts = [_machine(results), _METHOD.format(turns=turns, clock=clock)]
    if names := sorted(random):
        parts.append(f"Random images stood in for {', '.join(names)}.")
    old = {row["case"]: row for row in before if "error" not in row}
    good = [row for row in results if "error" not in row]
    for kind, table in (("meta_step", _meta_steps), ("start", _starts), ("apply", _applied)):
        rows = [row for row in good if row["kind"] == kind]
        if rows:
            parts += table(rows, old)
    failed = [f"- {row['case']}: {row['error']}" for row in results if "error" in row]
    if failed:
        parts += ["Not measured:", "\n".join(failed)]
    return "\n\n".join(parts) + "\n"


def rate(row: Result, competitor: str = "ours") -> list[float]:
    """Inner steps per second of a case in every turn; empty where it was not measured."""
    turns = row["competitors"].get(competitor, {}).get("turns", [])
    return [turn["inner_steps"] / turn["seconds"] for turn in turns]


def share_of_limit(row: Result) -> dict[str, float]:
    """What part of its time the least work of a case would take; by kind, and "all" of it."""
    limit, turns = row["limit"], row["competitors"]["ours"]["turns"]
    seconds = statistics.median(turn["seconds"] for turn in turns)
    rates = limit["rates"]
    shares = {kind: n / rates[kind] / seconds for kind, n in limit["operations"].items()}
    shares["bytes"] = limit["bytes"] / rates["copy"] / seconds
    return {**shares, "all": max(sum(shares.values()) - shares["bytes"], shares["bytes"])}


def _meta_steps(rows: Sequence[Result], old: Mapping[str, Result]) -> list[str]:
    known = "against", "reference", "fastest"
    others = [name for name in known if any(rate(row, name) for row in rows)]
    head = ["inner steps per second", "ours"]
    for name in others:
        head += [name, "ratio"]
    head += ["before"] if any(row["case"] in old for row in rows) else []
    speed = []
    for row in rows:
        cells = [row["case"], _spread(rate(row))]
        for name in others:
            cells += [_spread(rate(row, name)), _ratio(row, name)]
        if "before" in head:
            cells.append(_spread(rate(old[row["case"]])) if row["case"] in old else "")
        speed.append(cells)
    kinds = ("matrix", "arithmetic", "division", "transcendental", "random", "bytes", "all")
    limits = []
    for row in rows:
        shares = share_of_limit(row)
        limits.append([row["case"], *(f"{100 * shares.get(kind, 0):.0f} %" for kind in kinds)])
    return [
        _table(head, speed),
        _LIMIT,
        _table(["of the limit", *kinds], limits),
        f"Rates in 10^9 per second: {_rates(rows)}.",
        _table(
            ["start and memory", "compile s", "first meta-step, cold s", "warm s", "run-in s",
             "peak MB", "meta-step MB", "kB per particle", "pairs that fit"],
            [_start_and_memory(row) for row in rows],
        ),
    ]  # fmt: skip


def _rates(rows: Sequence[Result]) -> str:
    """The median over cases; that of a copy, in bytes, is of the size of each."""
    found = [row["limit"]["rates"] for row in rows]
    medians = {kind: statistics.median(x[kind] for x in found) / 1e9 for kind in found[0]}
    return ", ".join(f"{kind} {rate:.3g}" for kind, rate in medians.items())


def _start_and_memory(row: Result) -> list[str]:
    ours = row["competitors"]["ours"]
    cold, start = ours["cold"], ours["start"]
    seconds = statistics.median(turn["seconds"] for turn in ours["turns"])
    peak = max(cold["peak_bytes"], *(turn["peak_bytes"] for turn in ours["turns"]))
    fitting = start["largest_num_groups"]
    return [
        row["case"],
        f"{cold['compile_seconds']:.1f}",
        f"{cold['ready_seconds'] + seconds:.1f}",
        f"{start['ready_seconds'] + seconds:.1f}",
        f"{max(0.0, ours['first']['seconds'] - seconds):.1f}",
        f"{peak / 1e6:,.0f}",
        f"{start['meta_step_bytes'] / 1e6:,.1f}",
        f"{start['group_bytes'] / 2e3:,.1f}",
        "" if fitting is None else f"{fitting:,}",
    ]


def _starts(rows: Sequence[Result], old: Mapping[str, Result]) -> list[str]:
    def cells(row: Result, name: str) -> list[str]:
        turns = row["competitors"][name]["turns"]
        each: list[Callable[[Any], float]] = [
            lambda turn: turn["import_seconds"],
            lambda turn: turn["cold"]["seconds"],
            lambda turn: turn["warm"]["seconds"],
            lambda turn: turn["cold"]["peak_bytes"] / 1e6,
            lambda turn: turn["warm"]["peak_bytes"] / 1e6,
        ]
        return [_spread([value(turn) for turn in turns]) for value in each]

    table = _lines(rows, old, cells)
    head = [
        "the command",
        "import lopt s",
        "first meta-step, cold s",
        "warm s",
        "peak MB, cold",
        "warm",
    ]
    return [_table(head, table)]


def _applied(rows: Sequence[Result], old: Mapping[str, Result]) -> list[str]:
    def cells(row: Result, name: str) -> list[str]:
        competitor = row["competitors"][name]
        start, turns = competitor["start"], competitor["turns"]
        count = start["parameters"]
        return [
            _spread([turn["seconds"] / count * 1e9 for turn in turns]),
            _spread([turn["seconds"] / turn["adam_seconds"] for turn in turns]),
            f"{start['state_bytes'] / count:.1f}",
            f"{start['temporary_bytes'] / count:.1f}",
            f"{start['compile_seconds']:.1f}",
            *_of_copy(start, turns),
        ]

    table = _lines(rows, old, cells)
    head = ["applying", "ns per parameter", "x optax.adam", "state bytes per parameter",
            "temporary bytes", "compile s", "x copy", "off jnp"]  # fmt: skip
    return [_table(head, table)]


def _of_copy(start: Result, turns: Sequence[Result]) -> list[str]:
    """Time beside that of a copy of parameters and state, and how far a kernel is off jnp."""
    if "copy_seconds" not in start:
        return ["", ""]  # measured by an earlier version
    times = [turn["seconds"] / start["copy_seconds"] for turn in turns]
    apart = start["difference"]
    return [_spread(times), "" if apart is None else f"{apart:.0e}"]


def _lines(
    rows: Iterable[Result],
    old: Mapping[str, Result],
    cells: Callable[[Result, str], list[str]],
) -> list[list[str]]:
    """A line for every case and competitor, and for what an earlier run found."""
    lines = []
    for row in rows:
        case = row["case"]
        for name in row["competitors"]:
            lines.append([case if name == "ours" else f"{case}, {name}", *cells(row, name)])
        if case in old:
            lines.append([f"{case}, before", *cells(old[case], "ours")])
    return lines


def _machine(results: Iterable[Result]) -> str:
    date = datetime.date.today()
    for row in results:
        for competitor in row["competitors"].values():
            found = competitor.get("start", {}).get("machine")
            if found:
                return (
                    f"{date}: {found['processor']} ({found['vector_instructions']}), "
                    f"{found['cores']} core(s), device {found['device']}; jax {found['jax']}, "
                    f"Python {found['python']}."
                )
    return f"{date}."


def _ratio(row: Result, name: str) -> str:
    """Ours over theirs, turn by turn."""
    pairs = zip(rate(row), rate(row, name), strict=False)
    ratios = [ours / theirs for ours, theirs in pairs]
    return _spread(ratios)


def _spread(values: Sequence[float]) -> str:
    """Median and quartiles."""
    if not values:
        return ""
    middle = statistics.median(values)
    if len(values) < 3:
        return _number(middle, middle)
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{_number(middle, middle)} ({_number(low, middle)}-{_number(high, middle)})"


def _number(value: float, scale: float) -> str:
    """Three digits of the scale."""
    digits = max(0, 2 - math.floor(math.log10(abs(scale)))) if scale else 0
    return f"{value:,.{digits}f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
