"""Pairing: every file ends in exactly one row, under the rules that are written down."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskmill.pipeline.audit.pairing import (
    SHARED_ENDING,
    MaskFile,
    find_picture,
    index_by_picture,
    pair_masks,
    stem_path,
    without_role,
)
from maskmill.schemas.errors import ErrorCode


def files(*keys):
    return [MaskFile(key, f"/data/{key}") for key in keys]


def matched(pairing):
    return [(pair.prediction.key, pair.truth.key) for pair in pairing.pairs if pair.problem is None]


@pytest.mark.parametrize("prediction, truth, rule", [
    ("a/b.png", "a/b.tif", "same path"),                       # extensions do not matter
    ("a.b.png", "a.b.bmp", "same path"),                       # only the last one is taken off
    ("x_pred.png", "x.png", "same path without a role's ending"),
    ("x.png", "x_gt.png", "same path without a role's ending"),
    ("0016E5_L.png", "0016E5.png", "same path without a role's ending"),  # CamVid's first release
    ("out/x_mask.png", "val/x_label.png", "same file name without a role's ending"),
    ("aachen_000000_000019_leftImg8bit.png", "val/aachen/aachen_000000_000019_gtFine_labelIds.png",
     "same file name without a role's ending"),
    ("aachen_000000_000019_my_net_v2.png", "val/aachen/aachen_000000_000019_gtFine_labelIds.png",
     "same Cityscapes frame"),
])  # fmt: skip
def test_rules(prediction, truth, rule):
    pairing = pair_masks(files(prediction), files(truth))
    assert matched(pairing) == [(prediction, truth)]
    assert pairing.rules == {rule: 1}
    assert pairing.pairs[0].key == stem_path(truth)


def test_missing_files_are_rows():
    pairing = pair_masks(files("a.png", "c.png"), files("a.png", "b.png"))
    problems = {pair.key: pair.problem for pair in pairing.pairs}
    assert problems == {
        "a": None, "b": ErrorCode.MISSING_PREDICTION, "c": ErrorCode.MISSING_TRUTH,
    }  # fmt: skip
    assert "b.png: no prediction" in pairing.pairs[1].message


def test_the_exact_path_wins_over_looser_rules():
    pairing = pair_masks(files("a/x.png", "b/x.png"), files("b/x.png", "a/x.png"))
    assert sorted(matched(pairing)) == [("a/x.png", "a/x.png"), ("b/x.png", "b/x.png")]


def test_an_ending_of_ones_own_is_seen_where_all_files_share_it():
    pairing = pair_masks(
        files("out/1.png", "out/2.png"), files("1_target_official.png", "2_target_official.png")
    )
    assert len(matched(pairing)) == 2 and list(pairing.rules) == [SHARED_ENDING]
    both = pair_masks(files("1_a_ids.png", "2_a_ids.png"), files("1_b_ids.png", "2_b_ids.png"))
    assert matched(both) == [("1_a_ids.png", "1_b_ids.png"), ("2_a_ids.png", "2_b_ids.png")]


def test_what_most_names_have_before_or_behind_them_is_seen():
    """A stray file on one side, or something in front, is no hindrance; chance is no rule."""
    plain = [MaskFile(f"{number:03d}.png", "") for number in range(9)]
    stray = [MaskFile("readme.png", "")]
    for form, other in (("{}_annotated.png", ""), ("annot_{}.png", ""), ("mask_{}.png", "-seg")):
        truths = [MaskFile(form.format(file.key[:-4]), "") for file in plain]
        predictions = [MaskFile(f"{file.key[:-4]}{other}.png", "") for file in plain]
        found = pair_masks(predictions, truths + stray)
        assert sum(pair.problem is None for pair in found.pairs) == 9
        good = [pair for pair in found.pairs if not pair.problem]
        assert all(pair.prediction.key[:3] in pair.truth.key for pair in good)
        assert [pair.key for pair in found.pairs if pair.problem] == ["readme"]
    cats, dogs = ([MaskFile(f"{kind}_{number}.png", "") for number in range(9)]
                  for kind in ("cat", "dog"))  # fmt: skip
    assert not any(pair.problem is None for pair in pair_masks(cats, dogs).pairs)


def test_numbers_are_no_ending():
    pairing = pair_masks(files("a_01.png", "b_01.png"), files("a_02.png", "b_02.png"))
    assert matched(pairing) == []
    one = pair_masks(files("a.png"), files("a_official.png"))  # one file shares with nobody
    assert matched(one) == []


def test_names_with_dots():
    pairing = pair_masks(files("frame.001", "frame.002.png"), files("frame.001.tif", "frame.002"))
    assert len(matched(pairing)) == 2
    index = index_by_picture(files("frame.001.jpg", "frame.002.jpg"))
    assert find_picture("frame.002", index).key == "frame.002.jpg"


def test_two_candidates_are_said_and_not_guessed():
    pairing = pair_masks(files("x.png", "x.tif"), files("x.png"))
    assert [pair.problem for pair in pairing.pairs] == [ErrorCode.AMBIGUOUS_PAIR] * 3
    assert "2 predictions (x.png, x.tif)" in pairing.pairs[0].message
    pairing = pair_masks(files("p/x.png"), files("a/x.png", "b/x.png"))
    assert {pair.problem for pair in pairing.pairs} == {ErrorCode.AMBIGUOUS_PAIR}


@pytest.mark.parametrize("train_ids, taken", [(True, "labelTrainIds"), (False, "labelIds")])
def test_a_cityscapes_truth_folder(train_ids, taken):
    stem = "val/ulm/ulm_000000_000019_gtFine"
    truth = files(*(f"{stem}_{kind}.png" for kind in (
        "color", "instanceIds", "labelIds", "labelTrainIds",
    )))  # fmt: skip
    pairing = pair_masks(files("ulm_000000_000019.png"), truth, train_ids=train_ids)
    assert matched(pairing) == [("ulm_000000_000019.png", f"{stem}_{taken}.png")]
    assert sum(pairing.not_considered.values()) == 3


def test_a_folder_of_colour_masks_alone_is_taken():
    pairing = pair_masks(files("a_color.png"), files("a_color.png"))
    assert matched(pairing) == [("a_color.png", "a_color.png")]
    assert pairing.not_considered == {}


def test_a_name_that_is_only_an_ending_keeps_it():
    assert without_role("d/_mask.png") == "d/_mask"
    assert without_role("d/a_gtFine_labelIds.png") == "d/a"


def test_empty_sides():
    assert pair_masks([], []).pairs == ()


NAMES = st.lists(
    st.from_regex(r"[ab]{1,2}(/[xy]{1,2})?(_gt|_pred|_L)?\.(png|tif)", fullmatch=True),
    unique=True, max_size=8,
)  # fmt: skip


@given(NAMES, NAMES)
def test_no_file_is_lost_or_used_twice(predictions, truths):
    pairing = pair_masks(files(*predictions), files(*truths))
    left = [pair.prediction.key for pair in pairing.pairs if pair.prediction]
    right = [pair.truth.key for pair in pairing.pairs if pair.truth]
    assert sorted(left) == sorted(predictions) and sorted(right) == sorted(truths)
    for pair in pairing.pairs:
        assert (pair.problem is None) == (pair.prediction is not None and pair.truth is not None)
    assert sum(pairing.rules.values()) == len(matched(pairing))


def test_pictures_are_found_by_the_same_rules():
    index = index_by_picture(files("val/a_leftImg8bit.jpg", "b.jpg", "p/c.jpg", "q/c.jpg"))
    assert find_picture("val/a_gtFine_labelIds", index).key == "val/a_leftImg8bit.jpg"
    assert find_picture("x/b", index).key == "b.jpg"
    assert find_picture("q/c", index).key == "q/c.jpg"
    assert find_picture("c", index) is None  # two pictures of that name
    assert find_picture("zzz", index) is None
