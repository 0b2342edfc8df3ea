"""What an experiment is: parts that are computed one by one, and what is made of them."""

import abc
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple


class Part(NamedTuple):
    """A piece of an experiment, computed by itself and kept once it is finished."""

    label: str
    key: Mapping[str, Any]
    """Everything that its value depends on, besides the versions of packages."""
    compute: Callable[[], Any]
    """Gives the value: plain JSON-like data, None for numbers that are not finite."""
    brief: Callable[[Any], str]
    """What a line of progress says of the value."""


class Table(NamedTuple):
    """Rows of a tidy table."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


class Finding(NamedTuple):
    """Something that is expected, and whether it is so."""

    subject: str
    """A method, say."""
    holds: bool
    words: str

    @classmethod
    def of(cls, subject: str, holds: bool, words: str) -> "Finding":
        """A finding whose words end with whether it holds."""
        return cls(subject, holds, f"{words}: {'holds' if holds else 'DOES NOT HOLD'}")


class Outcome(NamedTuple):
    """What is made of the values of all parts."""

    tables: Mapping[str, Table]
    """By name; "results" among them."""
    panels: Sequence[Any]
    """Figures."""
    findings: Sequence[Finding]


class Plan(abc.ABC):
    """An experiment with all its sizes."""

    @abc.abstractmethod
    def parts(self) -> Sequence[Part]:
        """What is computed, in this order."""

    @abc.abstractmethod
    def outcome(self, name: str, values: Sequence[Any]) -> Outcome:
        """Tables, figures and findings.

        Args:
            name: of the experiment, and of its first figure's file.
            values: of the parts, in their order.
        """


class Experiment(NamedTuple):
    """An experiment by name."""

    summary: str
    """What it shows, in a line."""
    presets: Mapping[str, Callable[[], Plan]]
    """"quick", which shows the effect within minutes on two cores, and "full". Data are loaded when
    a plan is made; ``tasks.MissingData`` says which are not there."""
