"""Mishaps planted among 500 real masks with wobbly predictions: each is named, nothing else is."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from maskmill.jobs.cli import main
from maskmill.pipeline.audit.alignment import find_alignment, mean_iou
from tests.pipeline.audit.wobbly import (
    drawn_too_large,
    drawn_too_small,
    moved,
    without_void,
    wobbly,
)

pytestmark = pytest.mark.thorough
TURNS = {
    "mirrored": np.fliplr, "upside down": np.flipud, "quarter": lambda mask: np.rot90(mask, -1),
    "half": lambda mask: np.rot90(mask, 2), "three quarters": np.rot90,
}  # fmt: skip
SHIFTS = ((-7, 3), (0, -8), (30, 0))


@pytest.fixture(scope="module")
def real(shared):
    """name -> truth, name -> prediction."""
    paths = sorted((shared / "data/voc_masks_500").glob("*.png"))
    truths = {path.stem: np.array(Image.open(path)) for path in paths}
    return truths, {name: wobbly(mask, seed) for seed, (name, mask) in enumerate(truths.items())}


def audited(folder, truths, predictions):
    """(document, Markdown, console) of the command."""
    for side, masks in (("p", predictions), ("t", truths)):
        (folder / side).mkdir()
        for name, mask in masks.items():
            Image.fromarray(mask).save(folder / side / f"{name}.png", compress_level=1)
    sides = [str(folder / side) for side in "pt"]
    options = ["--labels", "voc", "--engine", "local", "--resamples", "20"]
    ended = CliRunner().invoke(main, ["audit", *sides, *options, "--out", str(folder / "out")])
    assert ended.exit_code in (0, 3), ended.output
    document = json.loads((folder / "out/audit.json").read_text())
    return document, (folder / "out/audit.md").read_text(), ended.output


def named(document):
    """Key -> names of the faults that name it."""
    found = {}
    for fault in document["faults"]:
        for key in fault["keys"]:
            found.setdefault(key, set()).add(fault["name"])
    return found


CLEAN = {
    "wobbly": wobbly,
    "hardly wobbly": lambda mask, seed: wobbly(mask, 1000 + seed, wobble=1),
    "very wobbly": lambda mask, seed: wobbly(mask, 2000 + seed, wobble=4),
    "too small": lambda mask, seed: drawn_too_small(mask),
    "too large": lambda mask, seed: drawn_too_large(mask),
}


@pytest.mark.parametrize("kind", CLEAN)
def test_nothing_is_named_where_nothing_is_planted(real, tmp_path, kind):
    """Objects cut by the picture's edge and drawn too small or too large only look moved."""
    truths, _ = real
    predictions = {
        name: CLEAN[kind](mask, seed) for seed, (name, mask) in enumerate(truths.items())
    }
    document, markdown, console = audited(tmp_path, truths, predictions)
    assert named(document) == {}
    assert document["ledger"]["ok"] == 500
    trials = document["trials"]
    assert 0 < trials["undecided"] < 250
    assert trials["exchanges"]["searched"] == trials["exchanges"]["candidates"]
    assert f"{trials['undecided']} pairs could not show a turn or a shift" in console
    assert "## What could not be decided" in markdown


class Planting:
    """Takes pairs that show a mishap: the prediction is right in the main, and not symmetric."""

    def __init__(self, truths, predictions, seed):
        self.truths, self.predictions = dict(truths), dict(predictions)
        self.expected = {}
        clear = [name for name in truths if self._is_clear(name)]
        self.free = np.random.default_rng(seed).permutation(clear).tolist()

    def _is_clear(self, name):
        truth, prediction = without_void(self.truths[name]), self.predictions[name]
        agree = mean_iou(truth, prediction, 21)
        turned = [mean_iou(truth, turn(prediction), 21)
                  for turn in (np.fliplr, np.flipud, lambda mask: mask[::-1, ::-1])]  # fmt: skip
        return agree > 0.75 and max(turned) < agree - 0.25 and 0.05 < np.mean(truth > 0) < 0.6

    def take(self):
        """A pair nothing was done to."""
        return self.free.pop()

    def take_two(self):
        """Two of one size."""
        sizes = [self.truths[name].shape for name in self.free]
        common = max(sizes, key=sizes.count)
        two = [name for name in self.free if self.truths[name].shape == common][:2]
        self.free = [name for name in self.free if name not in two]
        return two

    def change(self, fault, done):
        name = self.take()
        self.predictions[name] = np.ascontiguousarray(done(self.predictions[name]))
        self.expected[name] = fault

    def exchange(self):
        one, other = self.take_two()
        masks = self.predictions
        masks[one], masks[other] = masks[other], masks[one]
        self.expected |= {one: "exchanged_files", other: "exchanged_files"}

    def copy(self):
        one, other = self.take_two()
        self.predictions[other] = self.predictions[one]
        self.expected |= {one: "repeated_masks", other: "repeated_masks"}

    def lose(self):
        name = self.take()
        del self.predictions[name]
        self.expected[name] = "missing_prediction"


@pytest.mark.parametrize("seed", [0, 1])
def test_every_planted_mishap_is_named_with_its_key_and_nothing_else(real, tmp_path, seed):
    planting = Planting(*real, seed)
    for turn in TURNS.values():
        is_quarter = turn(np.zeros((2, 3))).shape == (3, 2)
        planting.change("orientation" if is_quarter else "turned_masks", turn)
    for shift in SHIFTS:
        planting.change("shifted_masks", lambda mask, shift=shift: moved(mask, *shift))
    planting.change("resized_masks", lambda mask: mask[::2, ::2])
    planting.exchange()
    planting.copy()
    planting.lose()
    document, markdown, console = audited(tmp_path, planting.truths, planting.predictions)
    assert named(document) == {key: {fault} for key, fault in planting.expected.items()}
    for key in planting.expected:
        assert key in markdown and key in console


@pytest.mark.parametrize("shift, least", [((3, 0), 0.4), ((0, 5), 0.7)])
def test_small_shifts_show_where_there_is_border_enough(real, shift, least):
    """Small objects have too little border to tell a few pixels from wobbling."""
    truths = dict(list(real[0].items())[::5])
    predictions = {name: wobbly(truths[name], seed, wobble=1) for seed, name in enumerate(truths)}
    clear = Planting(truths, predictions, 0).free
    found = [
        find_alignment(without_void(truths[name]), moved(predictions[name], *shift), 21)
        for name in clear
    ]
    certain = [one for one in found if one and one.is_certain and not one.turn]
    assert len(clear) > 20 and len(certain) >= least * len(clear)
    assert all(
        abs(one.shift_x - shift[0]) <= 2 and abs(one.shift_y - shift[1]) <= 2 for one in certain
    )
