"""What ``lopt reproduce variance`` makes of its numbers; the numbers are in test_linearised.py."""

import pytest

from meta_train.experiments.variance import SEQUENCES, Variances
from meta_train.figures import styles

PLAN = Variances(num_steps=100, truncations=(1, 2, 5, 10, 50), pairs=(1, 10, 1000), num_runs=50)


def value(sequence, method, truncations, pairs=1):
    """As variances go: linear in truncations for random characters, falling for repeated ones."""
    growth = {"text": truncations**0.5, "random": truncations, "repeated": truncations**-0.2}
    return 100 / pairs * (growth[sequence] if method == "pes" else 1)


def outcome(changed=value):
    values = [[changed(*case), 1.0] for case in PLAN._cases()]
    formula = [[value(x, "pes", count) for count in PLAN.truncations] for x in SEQUENCES]
    with styles.drawing():
        return PLAN.outcome("variance", [*values, *formula])


def test_a_row_for_every_number_and_a_figure_for_every_sequence():
    found = outcome()
    assert len(PLAN.parts()) == len(PLAN._cases()) + len(SEQUENCES)
    assert len(found.tables["results"].rows) == 3 * 5 * 2 + 2 + 3 * 5
    assert [panel.name for panel in found.panels] == [
        "variance_text", "variance_random", "variance_repeated", "variance_pairs",
    ]  # fmt: skip
    assert all(finding.holds for finding in found.findings)


@pytest.mark.parametrize(
    ("changed", "subject"),
    [
        (lambda *case: value(*case) * 1.5 ** (case == ("text", "pes", 2, 1)), "formula"),
        (lambda *case: value(*case) * case[3] ** 0.1, "exponent of pairs"),
        (lambda *case: value(*case) * 1.2 ** (case == ("text", "nres", 5, 1)), "nres"),
    ],
)
def test_what_does_not_go_so_does_not_hold(changed, subject):
    broken = [finding for finding in outcome(changed).findings if not finding.holds]
    assert [subject in finding.subject for finding in broken] == [True]
    assert "DOES NOT HOLD" in broken[0].words
