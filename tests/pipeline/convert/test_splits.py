"""Splits: stable per key, near their shares, and said plainly when they cannot be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskmill.pipeline.convert.splits import parse_shares, split_of
from maskmill.schemas.errors import SettingsError

SHARES = parse_shares("train=0.8,val=0.1,test=0.1")


@given(st.text(), st.integers(-5, 5))
def test_a_key_always_falls_in_the_same_split(key: str, seed: int) -> None:
    assert split_of(key, SHARES, seed) == split_of(key, dict(SHARES), seed) in SHARES


def test_shares_are_met() -> None:
    keys = [f"folder/{number}.jpg" for number in range(5000)]
    counts = [sum(split_of(key, SHARES, 0) == name for key in keys) for name in SHARES]
    assert counts == pytest.approx([4000, 500, 500], abs=100)


def test_another_seed_is_another_split() -> None:
    keys = [str(number) for number in range(200)]
    assert [split_of(key, SHARES, 0) for key in keys] != [split_of(key, SHARES, 1) for key in keys]


def test_known_values_never_move() -> None:
    found = [split_of(key, SHARES, 0) for key in ("a.jpg", "b.jpg", "sub/c.png", "ü.jpg")]
    assert found == GOLDEN


GOLDEN = ["val", "train", "train", "train"]


@given(st.text())
def test_a_share_of_nothing_gets_nothing(key: str) -> None:
    assert split_of(key, parse_shares("none=0,all=1"), 3) == "all"


@pytest.mark.parametrize(
    "text", ["", "train", "train=x", "train=0.5", "train=0.6,val=0.6", "train=1,train=0",
             "train=-1,val=2", "a/b=1"],
)  # fmt: skip
def test_shares_that_cannot_be(text: str) -> None:
    with pytest.raises(SettingsError, match="--split"):
        parse_shares(text)
