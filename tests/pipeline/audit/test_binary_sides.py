"""Masks of 0 and 255 are not compared as background and ignore: their foreground would be lost."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from maskmill.jobs.cli import main


def write(folder: Path, high: int, low: int = 0) -> Path:
    folder.mkdir()
    for number in range(3):
        mask = np.full((20, 30), low, np.uint8)
        mask[4:12, 5 + number : 20] = high
        Image.fromarray(mask).save(folder / f"{number}.png")
    return folder


def audit(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["audit", *map(str, arguments), "--engine", "local"])


@pytest.mark.parametrize("side", ["truth", "prediction"])
def test_they_are_refused_with_the_option_that_is_meant(tmp_path: Path, side: str) -> None:
    binary, indices = write(tmp_path / "binary", 255), write(tmp_path / "indices", 15)
    sides = (binary, indices) if side == "prediction" else (indices, binary)
    refused = audit(*sides, "--labels", "voc")
    assert refused.exit_code == 2
    assert f"the {side}: " in refused.stderr and "all foreground be lost" in refused.stderr
    assert f"--{side}-format binary" in refused.stderr and "--ignore 255" in refused.stderr
    told = audit(*sides, "--labels", "voc", "--ignore", 255)
    assert told.exit_code == 0 and "binary_read_as_ignore" in told.stdout


def test_what_was_meant_gives_numbers(tmp_path: Path) -> None:
    (tmp_path / "two.txt").write_text("background\nperson\n")
    binary, truth = write(tmp_path / "binary", 255), write(tmp_path / "truth", 255)
    two = ("--labels", tmp_path / "two.txt")
    for options in (two, (*two, "--truth-format", "binary", "--prediction-format", "binary")):
        done = audit(binary, truth, *options)
        assert done.exit_code == 0, done.stderr
        assert "1.0000" in done.stdout and "binary_read_as_ignore" not in done.stdout


def test_masks_with_any_other_value_are_no_binary_ones(tmp_path: Path) -> None:
    truth = write(tmp_path / "truth", 255)
    Image.fromarray(np.full((20, 30), 7, np.uint8)).save(truth / "2.png")
    assert audit(truth, truth, "--labels", "voc").exit_code == 0
