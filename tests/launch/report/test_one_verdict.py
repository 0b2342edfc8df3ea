"""Terminal, card and page say the same about the same results."""

import re

import pytest

from lopt.card_limits import limits
from meta_train.evaluation import Evaluation
from meta_train.evaluation.model_card import judged
from meta_train.evaluation.verdict import HIGHER, LOWER, UNCLEAR, UNKNOWN
from meta_train.report.page import make as make_page
from tests.launch.report import reading
from tests.launch.report.conftest import LEARNED, make_summary, write_run

DIVERGED = (None, None)
CASES = {
    "won": ((1.0, 0.1), (2.0, 0.1), LOWER),
    "close": ((1.0, 0.1), (1.2, 0.1), UNCLEAR),
    "lost": ((1.5, 0.1), (1.0, 0.1), HIGHER),
    "far": ((9.0, 0.1), (1.0, 0.1), HIGHER),
    "failed": (DIVERGED, (1.0, 0.1), HIGHER),
    "one_seed": ((1.0, None), (2.0, None), UNCLEAR),
    "unrivalled": ((1.0, 0.1), DIVERGED, LOWER),
    "hopeless": (DIVERGED, DIVERGED, UNKNOWN),
}
"""Mean loss of the learned optimizer and of the best baseline, with standard errors."""


def named(outcome):
    return {task for task, case in CASES.items() if case[2] == outcome}


def numbers(task, optimizer):
    """Of another baseline the loss is larger by 1."""
    learned, best, _ = CASES[task]
    if optimizer == LEARNED:
        return learned
    mean, error = best
    return (None if mean is None else mean + (optimizer != "adam"), error)


@pytest.fixture(scope="module")
def summary():
    found = make_summary(list(CASES), baselines=("adam", "lion"))
    found["optimizers"][0]["theta_sha256"] = ""
    for section in ("tasks", "measures"):
        found[section] = [x for x in found[section] if not x["axis"]]
    for x in found["measures"]:
        mean, error = numbers(x["task"], x["optimizer"])
        x |= {"mean_loss": mean, "std_error": error, "target": None, "target_optimizer": None}
    return found


@pytest.fixture(params=["run", "evaluation"])
def medium(request, summary, tmp_path):
    """Lines of the terminal, rows of the card, and the page of one evaluation."""
    folder = tmp_path
    if request.param == "run":
        folder = write_run(tmp_path, compared=False, bundle=False) / "comparison"
        folder.mkdir()
    Evaluation(summary).save(folder)
    found = Evaluation.load(folder)
    page = reading.Page(make_page(tmp_path)).text
    return found.verdict(LEARNED).lines, judged(found).entries["evaluation"], page


def outcome_of(line):
    if "no baseline" in line:
        return UNKNOWN if "diverged" in line else LOWER
    signs = {UNCLEAR: "no clear difference from", LOWER: " below ", HIGHER: "above|times|against"}
    (found,) = [outcome for outcome, words in signs.items() if re.search(words, line)]
    return found


def test_all_media_agree(medium):
    lines, card, page = medium
    for task, (_, _, outcome) in CASES.items():
        (line,) = [line for line in lines if line.startswith(f"{task}: ")]
        assert outcome_of(line) == outcome, line
    text = " ".join(limits({"evaluation": card}))
    behind = re.search(r"In 3 of 7 settings .* lower mean loss: (.*?)\.", text)
    unclear = re.search(r"In 2 there is no clear difference: (.*?)\.", text)
    assert set(behind[1].split(", ")) == named(HIGHER)
    assert set(unclear[1].split(", ")) == named(UNCLEAR)
    for outcome, words in ((HIGHER, "It loses on|higher on"), (LOWER, "It wins on|lower on")):
        listed = re.search(rf"(?:{words}) (\w+ \(.*?\)(?:; \w+ \(.*?\))*)", page)
        assert set(re.findall(r"(\w+) \(", listed[1])) == named(outcome)
    assert "on 2 of 8 tasks, a higher one on 3, no clear difference on 2" in page
