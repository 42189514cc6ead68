"""The page of a comparison: what moved most, in pictures; one file, opened by double click."""

import base64
import io
import json
import re

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from maskmill.jobs.cli import main

NAMES = ["background", "cat", "dog"]


def run(*arguments):
    ended = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert ended.exit_code == 0, ended.output
    return ended.output


def save(folder, masks):
    folder.mkdir()
    for name, mask in masks.items():
        Image.fromarray(mask).save(folder / f"{name}.png")


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """(folder, what was printed): picture 3 got worse, picture 5 better, 7 has lost its mask."""
    folder = tmp_path_factory.mktemp("compared")
    truths = {}
    for number in range(8):
        truth = np.zeros((60, 80), np.uint8)
        truth[10:40, 5 + number : 40] = 1
        truth[30:50, 45:70] = 2
        truths[f"<b>{number}"] = truth
    before = {name: mask.copy() for name, mask in truths.items()}
    after = {name: mask.copy() for name, mask in truths.items()}
    after["<b>3"][after["<b>3"] == 1] = 0
    before["<b>5"][before["<b>5"] == 2] = 1
    before["<b>7"][:30] = 0
    (folder / "labels.txt").write_text("\n".join(NAMES))
    save(folder / "truth", truths)
    save(
        folder / "photos",
        {name: np.stack([mask * 90] * 3, axis=2) for name, mask in truths.items()},
    )
    for name, masks in (("before", before), ("after", after)):
        save(folder / name, masks)
        run("audit", folder / name, folder / "truth", "--labels", folder / "labels.txt",
            "--images", folder / "photos", "--out", folder / f"{name}_audit", "--engine", "local",
            "--resamples", 20)  # fmt: skip
    (folder / "before/<b>7.png").unlink()
    printed = run("audit", "compare", folder / "before_audit", folder / "after_audit",
                  "--resamples", 50, "--out", folder / "moved")  # fmt: skip
    return folder, printed


def test_the_most_moved_are_said_and_written(compared):
    folder, printed = compared
    document = json.loads((folder / "moved/compare.json").read_text())
    assert [row["key"] for row in document["worse"]] == ["<b>3"]
    assert {row["key"] for row in document["better"]} == {"<b>5", "<b>7"}
    assert "got worse most\n  <b>3" in printed and "moved/compare.html" in printed


def test_the_page_is_one_file_without_foreign_markup(compared):
    page = (compared[0] / "moved/compare.html").read_text()
    assert not re.search(r"@import|url\((?!data:)|https?://|<script|<b>\d", page)
    assert "1 of 2 are not shown" in page  # its mask is gone


def test_the_change_is_painted(compared):
    page = (compared[0] / "moved/compare.html").read_text()
    figures = page.split("<figure")[1:]
    assert len(figures) == 2
    worse = next(one for one in figures if "&lt;b&gt;3" in one)
    data = re.search(r'src="data:image/png;base64,([^"]+)" alt="change"', worse)[1]
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))
    truth = np.asarray(Image.open(compared[0] / "truth/<b>3.png"))
    assert (pixels[truth == 1] == (235, 64, 52)).all()  # right before, wrong now
    assert (pixels[truth != 1] == (46, 52, 64)).all()


@pytest.mark.parametrize("width", [1280, 390])
def test_it_opens_from_disk_and_fits(browser, compared, width):
    context = browser.new_context(offline=True, viewport={"width": width, "height": 900})
    tab = context.new_page()
    problems = []
    tab.on("console", lambda message: problems.append(message.text))
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.goto((compared[0] / "moved/compare.html").as_uri())
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.locator("figure img").count() == 10
    assert tab.evaluate("[...document.images].every(one => one.naturalWidth)")
    assert problems == []
    context.close()
