"""The page that `report` and `prelabel --report` write, opened from the disk in Chromium."""

import re
import shutil
from pathlib import Path

import pytest

from maskmill.pipeline.reports.page import write_report
from tests.browser_pages import OTHER_SCREENS, SCREENS, serious, until, watched
from tests.jobs.labelled_run import labelled_run
from tests.jobs.web.conftest import NASTY

WIDE, NARROW = SCREENS


@pytest.fixture(scope="module")
def page(made, tmp_path_factory):
    """The page of the made run, alone in a folder: nothing beside it can be used."""
    run = tmp_path_factory.mktemp("reported") / "run"
    shutil.copytree(made[1], run, ignore=shutil.ignore_patterns("review"))
    place = tmp_path_factory.mktemp("alone") / "index.html"
    shutil.move(write_report(str(run)), place)
    return place


@pytest.mark.parametrize("screen", [NARROW, *(pytest.param(one, marks=pytest.mark.slow)
                                              for one in (WIDE, *OTHER_SCREENS))])  # fmt: skip
def test_the_page_alone_by_mouse_and_by_keyboard(browser, page, screen):
    with watched(browser, {**SCREENS, **OTHER_SCREENS}[screen], offline=True) as tab:
        tab.goto(page.as_uri())
        assert "inputs 8 = ok 7 + failed 1" in tab.inner_text("#ledger")
        assert "not_an_image" in tab.inner_text("#failures + *")
        pictures = tab.locator(".enlarge")
        assert pictures.count() == 7 and tab.locator("figcaption", has_text=NASTY).count() == 1
        assert tab.evaluate("[...document.images].filter(one => one.src).length") >= 7
        pictures.first.click()
        large = tab.locator("#large img")
        small = pictures.first.locator("img").bounding_box()["width"]
        assert large.evaluate("one => one.naturalWidth") > 0
        assert large.bounding_box()["width"] > 0.7 * min(small, 320)
        first = tab.inner_text("#large p")
        tab.keyboard.press("ArrowRight")
        assert tab.inner_text("#large p") != first
        tab.keyboard.press("Escape")
        assert not tab.evaluate("document.querySelector('#large').open")
        until(tab, "document.activeElement === document.querySelectorAll('.enlarge')[1]")
        tab.keyboard.press("Enter")
        assert tab.evaluate("document.querySelector('#large').open")
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_bars_are_as_long_as_what_they_count(tmp_path):
    """Kills: one class measured against another than the most frequent, and cut off."""
    page = Path(write_report(str(labelled_run(tmp_path, 5))))
    found = re.findall(r'class="bar" style="width:([\d.]+)px"></span>(\d+)<', page.read_text())
    bars = [(float(width), int(images)) for width, images in found]
    longest = max(images for _, images in bars)
    assert len({images for _, images in bars}) > 1
    assert all(abs(width - 120 * images / longest) <= 0.05 for width, images in bars)


@pytest.mark.slow
@pytest.mark.parametrize("screen", SCREENS)
def test_axe_finds_no_serious_fault(browser, page, axe, screen):
    with watched(browser, SCREENS[screen]) as tab:
        tab.goto(page.as_uri())
        assert serious(tab, axe) == []
        tab.locator(".enlarge").first.click()
        assert serious(tab, axe) == []
