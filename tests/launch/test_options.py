from dataclasses import dataclass

import pytest

from launch import options
from launch.errors import UserError
from launch.options import flag


@dataclass(frozen=True, kw_only=True)
class Common:
    quiet: bool = flag("", "say nothing")


@dataclass(frozen=True, kw_only=True)
class Arguments(Common):
    out: str = flag("DIR", "where it goes", example="runs/x")
    steps: int = flag("N", "how many", default=3)
    after: int | None = flag("N", "when to begin", least=0)
    names: tuple[str, ...] = flag("A,B", "which", default=())


def test_flags_and_words():
    words = ["one", "--out", "d", "--steps=7", "--names=a,b", "--quiet", "two"]
    found, rest = options.read(Arguments, words, ("FIRST", "SECOND"))
    assert found == Arguments(out="d", steps=7, names=("a", "b"), quiet=True)
    assert rest == ["one", "two"]
    assert options.read(Arguments, ["--out=d"])[0] == Arguments(out="d")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "--out is missing; for instance --out=runs/x"),
        (["--out=d", "--steps=0"], "--steps=0 must be at least 1"),
        (["--out=d", "--after=-1"], "--after=-1 must be at least 0"),
        (["--out=d", "--steps=x"], "wants a whole number"),
        (["--out=d", "--step=4"], "did you mean 'steps'?"),
        (["--out=d", "word"], "unexpected argument 'word'"),
    ],
)
def test_mistake(words, expected):
    with pytest.raises(UserError) as caught:
        options.read(Arguments, words)
    assert expected in str(caught.value)


def test_word_that_is_missing():
    with pytest.raises(UserError, match="FIRST is missing; for instance `lopt do x`"):
        options.read(Arguments, ["--out=d"], ("FIRST",), "lopt do x")


def test_help_lists_words_then_own_then_inherited_flags():
    assert options.help_of(Arguments, {"FIRST": "a word"}).splitlines() == [
        "  FIRST        a word",
        "  --out=DIR    where it goes",
        "  --steps=N    how many (default 3)",
        "  --after=N    when to begin",
        "  --names=A,B  which",
        "  --quiet      say nothing",
    ]
