"""Which epoch is kept: by hand, and its standard error by the formula of the mean."""

import numpy as np
import pytest

from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.training.checkpoint import Progress, write_validation
from maskmill.pipeline.training.kept_epoch import Keeper, standard_error
from maskmill.pipeline.training.validation import Monitor
from maskmill.schemas.labels import LabelMap

LABELS = LabelMap.from_names("two", ("background", "cat"))
MONITOR = Monitor(text="pixel_accuracy", labels=LABELS)
PIXELS = 1000


def rows_of(right: np.ndarray) -> list[dict]:
    """A validation in which so many of each picture's pixels, all background, are right."""
    return [
        {
            "epoch": 1, "step": 1, "image_id": place + 1, "key": f"{place}.png",
            "miou": None, "pixel_accuracy": count / PIXELS,
            "confusion": [
                {"truth": 0, "prediction": 0, "pixels": int(count)},
                {"truth": 0, "prediction": 1, "pixels": int(PIXELS - count)},
            ],
        }
        for place, count in enumerate(right)
    ]  # fmt: skip


def decided(keeper: Keeper, validations: list[np.ndarray], progress: Progress) -> list[bool]:
    found = []
    for right in validations:
        entry = {"epoch": len(progress.history) + 1, "step": 0, "monitor": right.mean() / PIXELS}
        progress.history.append(entry)
        found.append(keeper.is_kept(entry, rows_of(right), progress))
    return found


def test_the_standard_error_is_that_of_the_mean_difference() -> None:
    rng = np.random.default_rng(0)
    some, others = rng.integers(300, 900, (2, 150))
    expected = (some - others).std(ddof=1) / PIXELS / np.sqrt(len(some))
    found = standard_error(MONITOR, rows_of(some), rows_of(others))
    assert found == pytest.approx(expected, rel=0.2)  # 200 resamples: 5 % is one standard error
    assert standard_error(MONITOR, rows_of(some), rows_of(some)) == 0


NOISY = [
    np.array(one) for one in ([500, 500, 500, 500], [900, 400, 950, 450], [450, 950, 400, 890])
]
"""The second is the best by a hair; the third differs from it by far more than by that hair."""


def test_level_keeps_the_last_that_cannot_be_told_from_the_best(tmp_path) -> None:
    keeper = Keeper(MONITOR, "level", RunLayout(str(tmp_path)))
    progress = Progress()
    assert decided(keeper, NOISY, progress) == [True, True, True]
    assert progress.best["epoch"] == 2
    surely_worse = NOISY[1] - 100  # of every picture the same: no chance in it
    assert decided(keeper, [surely_worse], progress) == [False]
    assert decided(keeper, [NOISY[1]], progress) == [True]  # as good, at a lower rate


def test_best_keeps_the_best_alone(tmp_path) -> None:
    keeper = Keeper(MONITOR, "best", RunLayout(str(tmp_path)))
    assert decided(keeper, [*NOISY, NOISY[1]], Progress()) == [True, True, False, False]


def test_a_number_that_is_not_there_is_never_kept(tmp_path) -> None:
    keeper, progress = Keeper(MONITOR, "level", RunLayout(str(tmp_path))), Progress()
    assert not keeper.is_kept({"epoch": 1, "monitor": None}, [], progress)
    assert progress.best is None


def test_a_start_anew_decides_as_the_one_before_would_have(tmp_path) -> None:
    layout, progress = RunLayout(str(tmp_path)), Progress()
    decided(Keeper(MONITOR, "level", layout), NOISY[:2], progress)
    write_validation(layout, 2, rows_of(NOISY[1]))
    assert decided(Keeper(MONITOR, "level", layout), NOISY[2:], progress) == [True]
    progress.history.pop()
    assert decided(Keeper(MONITOR, "level", layout), [NOISY[1] - 100], progress) == [False]
