"""Pairing: every file ends in exactly one row, under the rules that are written down."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.audit.companions import Companions
from maskmill.pipeline.audit.mask_files import MaskFile, MaskFiles
from maskmill.pipeline.audit.pair_rules import SHARED_ENDING, stem_path, without_role
from maskmill.pipeline.audit.pairing import pair_masks
from maskmill.schemas.errors import ErrorCode
from tests.pipeline.audit.held_pairing import held_pairs


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
    assert [pair.key for pair in pairing.pairs] == [stem_path(truth)]


def test_missing_files_are_rows():
    pairing = pair_masks(files("a.png", "c.png"), files("a.png", "b.png"))
    pairs = list(pairing.pairs)
    problems = {pair.key: pair.problem for pair in pairs}
    assert problems == {
        "a": None, "b": ErrorCode.MISSING_PREDICTION, "c": ErrorCode.MISSING_TRUTH,
    }  # fmt: skip
    assert "b.png: no prediction" in pairs[1].message


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
    assert picture_of("frame.002", files("frame.001.jpg", "frame.002.jpg")) == "frame.002.jpg"


def test_two_candidates_are_said_and_not_guessed():
    pairing = pair_masks(files("x.png", "x.tif"), files("x.png"))
    assert [pair.problem for pair in pairing.pairs] == [ErrorCode.AMBIGUOUS_PAIR] * 3
    assert "2 predictions (x.png, x.tif)" in next(iter(pairing.pairs)).message
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
    assert list(pair_masks([], []).pairs) == []


def picture_of(key, pictures):
    """The key of the picture that a pair with this prediction asks for."""
    pairs = pair_masks([MaskFile(key, "")], []).pairs
    (uri,) = Companions(MaskFiles.of(pictures)).uris(pairs)(1).to_pylist()
    return uri and uri.removeprefix("/data/")


def test_pictures_are_found_by_the_same_rules():
    pictures = files("val/a_leftImg8bit.jpg", "b.jpg", "p/c.jpg", "q/c.jpg")
    assert picture_of("val/a_gtFine_labelIds", pictures) == "val/a_leftImg8bit.jpg"
    assert picture_of("x/b", pictures) == "b.jpg"
    assert picture_of("q/c", pictures) == "q/c.jpg"
    assert picture_of("c", pictures) is None  # two pictures of that name
    assert picture_of("zzz", pictures) is None


STEMS = st.from_regex(r"[aAé]{1,2}(_[ab]{1,2}|-x|_color|_labelIds|_labelTrainIds|_gt|_pred)?")
FRAMES = st.from_regex(r"ulm_000000_00000[1-3](_gtFine_labelIds|_gtFine_color|_net)?")
HOSTILE = st.lists(
    st.tuples(
        st.sampled_from(["", "x/", "y/", "x/y/"]),
        st.one_of(
            *(one.filter(lambda name: "\n" not in name) for one in (STEMS, FRAMES)),
            st.sampled_from(["_mask", "a.b", "mask_1", "mask_2", "1", "2"]),
        ),
        st.sampled_from([".png", ".PNG", ".tif", ".json", ""]),
    ).map("".join),
    unique=True, max_size=14,
)  # fmt: skip


@given(predictions=HOSTILE, truths=HOSTILE, train_ids=st.booleans())
@settings(deadline=None, max_examples=80)
def test_pairs_are_those_of_dictionaries(predictions, truths, train_ids):
    """The same files, order, problems and counts as where every name is held."""
    pairing = pair_masks(files(*predictions), files(*truths), train_ids=train_ids)
    found = [
        (pair.key, *(one and one.key for one in (pair.prediction, pair.truth)), pair.problem)
        for pair in pairing.pairs
    ]
    expected, skipped = held_pairs(predictions, truths, train_ids=train_ids)
    assert [(*keys, code and code.value) for *keys, code in found] == expected
    assert pairing.not_considered == Counter(skipped)
    assert list(pairing.not_considered) == list(dict.fromkeys(skipped))
    used = [[row[side] for row in found if row[side]] for side in (1, 2)]
    assert len(used[0] + used[1]) + len(skipped) == len(predictions) + len(truths)
    assert set(used[0]) <= set(predictions) and set(used[1]) <= set(truths)
    problems = Counter(code for *_, code in found if code)
    assert pairing.problems == problems
    assert sum(pairing.rules.values()) == len(found) - sum(problems.values())


def test_many_pairs_and_a_name_that_thousands_have():
    """More than is held at once, of every outcome; names of a rule meet where tables end."""
    predictions = [f"p/{number:05}.png" for number in range(0, 9000, 2)]
    predictions += [f"{number}/same.png" for number in range(5000)]
    truths = [f"t/{number:05}_gt.png" for number in range(0, 9000, 3)]
    truths += [f"x{number}/same_gt.tif" for number in range(4500)] + ["t/00002_label.png"]
    pairing = pair_masks(files(*predictions), files(*truths))
    found = [
        (pair.key, *(one and one.key for one in (pair.prediction, pair.truth)), pair.problem)
        for pair in pairing.pairs
    ]
    expected, _ = held_pairs(predictions, truths)
    assert [(*keys, code and code.value) for *keys, code in found] == expected
    assert pairing.problems[ErrorCode.AMBIGUOUS_PAIR] == 9500
    (message,) = {pair.message for pair in pairing.pairs if pair.key == "x7/same_gt"}
    assert message == (
        "same: 5000 predictions (0/same.png, 1/same.png, 10/same.png, …) and 4500 truths "
        "(x0/same_gt.tif, x1/same_gt.tif, x10/same_gt.tif, …) share this name; keep one of each"
    )
