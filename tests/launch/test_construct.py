import dataclasses

import pytest

from launch.construct import check_fields, construct
from launch.conversion import plain
from launch.errors import UserError


@dataclasses.dataclass(frozen=True)
class Thing:
    size: int
    rate: float = 0.5
    widths: tuple[int, ...] = (1,)
    name: str = "x"
    bound: float | None = None
    flag: bool = False
    other: list[int] | None = None

    def __post_init__(self):
        if self.size < 1:
            raise ValueError(f"size = {self.size} must be at least 1.")


def anything(size: int, **more):
    return size, more


@pytest.mark.parametrize(
    "fields",
    [
        {"size": 1},
        {"size": 1, "rate": 2},
        {"size": 1, "widths": ()},
        {"size": 1, "widths": (3, 4), "bound": None},
        {"size": 1, "bound": 2, "flag": True, "name": "y"},
        {"size": 1, "other": "not checked"},
    ],
)
def test_good_fields(fields):
    assert construct(Thing, fields, "thing", "thing") == Thing(**fields)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "config.part: thing needs size"),
        ({"size": 0}, "size = 0 must be at least 1"),
        ({"size": 1, "wdths": (1,)}, "did you mean 'widths'?"),
        ({"size": 1.5}, "config.part.size = 1.5 is of a wrong type; it wants a whole number"),
        ({"size": True}, "wants a whole number"),
        ({"size": 1, "rate": "x"}, "config.part.rate = 'x'"),
        ({"size": 1, "widths": 3}, "config.part.widths = 3"),
        ({"size": 1, "widths": ("a",)}, "config.part.widths"),
        ({"size": 1, "bound": "x"}, "a number or None"),
        ({"size": 1, "flag": 1}, "True or False"),
        ({"size": 1, "name": 1}, "a string"),
    ],
)
def test_mistake_names_field_value_and_remedy(fields, expected):
    with pytest.raises(UserError) as caught:
        construct(Thing, fields, "part", "thing")
    assert expected in str(caught.value)


def test_function_that_takes_anything():
    assert construct(anything, {"size": 1, "more": 2}, "part", "it") == (1, {"more": 2})
    with pytest.raises(UserError, match=r"config\.part\.size"):
        check_fields(anything, {"size": "x"}, "part", "it")


def test_defect_inside_is_passed_on():
    def broken():
        raise TypeError("a defect")

    with pytest.raises(TypeError, match="a defect"):
        construct(broken, {}, "part", "broken")


def test_plain_can_be_hashed():
    assert hash(plain([1, [2, 3]])) == hash((1, (2, 3)))
    assert plain({"a": {"b": [1]}}) == {"a": {"b": (1,)}}
