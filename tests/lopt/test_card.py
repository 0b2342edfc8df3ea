"""The model card: filled from what is known, and honest about the rest."""

import json
import math

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lopt
from lopt.card import complete, render
from lopt.card_limits import limits
from tests.lopt.bundles import CARD, make


def test_model_card(tmp_path):
    lopt.save(tmp_path / "b", *make("adafac_mlp"), card=CARD)
    text = (tmp_path / "b" / "README.md").read_text()
    for part in ("# Small rule", "For tests.", "25 inner steps", "bowl", r"mnist \| raw"):
        assert part in text
    assert text.startswith("---\nlicense: cc-by-4.0\n")
    assert text.rindex("## Limits") > text.index("## License")
    lopt.save(tmp_path / "plain", *make())
    plain = (tmp_path / "plain" / "README.md").read_text()
    assert "mlp" in plain
    assert "1762" in plain
    assert "license: apache-2.0" in plain


def test_limits_follow_from_the_card():
    def row(task, optimizer, loss, **more):
        return {"task": task, "optimizer": optimizer, "mean_loss": loss, **more}

    rows = [row("a", "learned", 0.1, outcome="lower"), row("a", "adam", 0.2), row("a", "lion", 0.3)]
    rows += [row("a", "learned", 0.4, axis="width x4", outcome="higher")]
    rows += [row("a", "adam", 0.3, axis="width x4")]
    text = "\n".join(limits({"horizon": 30, "evaluation": rows}))
    assert "more than 30 steps" in text
    assert "In 1 of 2 settings" in text
    assert "lower mean loss: a (width x4)." in text
    assert "No task of the evaluation was held out" in text
    assert "diverged" not in text
    assert "no clear difference" not in text
    rows += [row("b", "learned", None, held_out=True, outcome="higher"), row("b", "adam", 0.3)]
    rows += [row("c", "learned", 0.2, outcome="unclear"), row("c", "adam", 0.3)]
    text = "\n".join(limits({"evaluation": rows}))
    assert "In 2 of 4 settings" in text
    assert "In 1 there is no clear difference: c." in text
    assert "Some of its trainings diverged in b." in text
    assert "held out" not in text
    assert "not recorded whether it is better" in "\n".join(limits({"evaluation": rows[1:3]}))


@pytest.mark.parametrize("license_", ["LicenseRef-proprietary", "MIT OR Apache-2.0"])
def test_licence_that_hubs_do_not_list(license_):
    rule = {"name": "mlp", "fields": {}, "feature_version": 1}
    text = render(rule, 1, {"license": license_})
    assert text.startswith(f"---\nlicense: other\nlicense_name: {license_.lower()}\nlibrary_name")
    assert f"## License\n\n{license_}\n" in text


@pytest.mark.parametrize("license_", ["", "Apache 2.0\n", "no,license", 3])
def test_licence_that_is_none(tmp_path, license_):
    with pytest.raises(ValueError, match="SPDX"):
        lopt.save(tmp_path / "b", *make(), card={"license": license_})


def test_numpy_in_the_card(tmp_path):
    card = {"a": np.float32(0.5), "b": np.arange(2), "c": jnp.float32(math.nan), "d": (1, None)}
    lopt.save(tmp_path / "b", *make(), card=card)
    read = lopt.load_bundle(tmp_path / "b").card
    assert read == {"a": 0.5, "b": [0, 1], "c": None, "d": [1, None], "license": "Apache-2.0"}
    with pytest.raises(ValueError, match=r"card\['x'\] is a set"):
        lopt.save(tmp_path / "c", *make(), card={"x": {1}})
    assert not (tmp_path / "c").exists()


@settings(max_examples=40, deadline=None)
@given(
    card=st.dictionaries(
        st.text(max_size=8).filter(lambda key: key not in ("horizon", "license")),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
            max_leaves=6,
        ),
        max_size=4,
    )
    | st.fixed_dictionaries({"evaluation": st.lists(st.dictionaries(
        st.sampled_from(["task", "axis", "optimizer", "mean_loss", "diverged", "outcome"]),
        st.none() | st.just("learned") | st.floats() | st.lists(st.integers(), max_size=1),
    ), max_size=4)})
)  # fmt: skip
def test_any_plain_card_survives(card):
    plain = complete(card)
    assert json.loads(json.dumps(plain)) == plain
    assert complete(plain) == plain
    assert plain.keys() == card.keys() | {"license"}
    text = render({"name": "mlp", "fields": {}, "feature_version": 1}, 3, plain)
    assert "## Evaluation" in text
    assert "## Limits\n\n- " in text
