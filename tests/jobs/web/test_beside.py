"""Mask and truth side by side in Chromium, what differs, and the same place on both sides."""

import numpy as np
import pytest
from PIL import Image

from tests.browser_pages import SCREENS, pixels, until, watched
from tests.jobs.labelled_run import labelled_run
from tests.jobs.web.conftest import Served

FIRST, SECOND = "#panes figure:nth-child(1) canvas", "#panes figure:nth-child(2) canvas"
WIDE, NARROW = SCREENS


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A server over a run beside its truth, which differs in a box of the first image."""
    folder = tmp_path_factory.mktemp("beside")
    run = labelled_run(folder, 4)
    for path in (run / "masks").rglob("*.png"):
        mask = Image.open(path)
        truth = np.asarray(mask).copy()
        if path.name == "000.png":
            truth[16:22, 2:12] = 2
        saved = Image.fromarray(truth)
        saved.putpalette(mask.getpalette())
        place = folder / "truth" / path.relative_to(run / "masks")
        place.parent.mkdir(parents=True, exist_ok=True)
        saved.save(place)
    server = Served(run, "--truth", folder / "truth")
    yield server
    server.stop()


@pytest.fixture(params=[WIDE, pytest.param(NARROW, marks=pytest.mark.slow)])
def tab(request, browser, compared):
    with watched(browser, SCREENS[request.param]) as page:
        page.goto(compared.address)
        page.wait_for_selector(".card")
        page.goto(f"{compared.root}/?sort=key&image=a%2F000.png")
        ready(page, "whole")
        yield page


def ready(page, what):
    until(page, f"/{what}$/.test(document.querySelector('#panes')?.dataset.ready ?? '')")


def box_of(page):
    """x, y, width, height that are seen, once both sides are sharp."""
    until(page, "/^\\d+ [\\d,]+$/.test(document.querySelector('#panes').dataset.ready)")
    return [
        int(part) for part in page.get_attribute("#panes", "data-ready").split(" ")[1].split(",")
    ]


def at(page, selector, y, x, box=(0, 0, 32, 24)):
    """The colour in a pane where the picture's pixel (y, x) lies."""
    shown = pixels(page, selector)
    scale = min(shown.shape[1] / box[2], shown.shape[0] / box[3])
    top = shown.shape[0] / 2 - (box[3] / 2 - (y + 0.5 - box[1])) * scale
    left = shown.shape[1] / 2 - (box[2] / 2 - (x + 0.5 - box[0])) * scale
    return shown[round(top), round(left), :3].astype(int)


@pytest.mark.thorough
def test_side_by_side_by_keyboard(tab):
    assert tab.locator("#panes canvas").count() == 1
    tab.keyboard.press("s")
    until(tab, "document.querySelectorAll('#panes canvas').length === 2")
    ready(tab, "whole")
    assert "beside=truth" in tab.url
    assert tab.locator("figcaption").all_inner_texts() == ["mask", "truth"]
    assert (at(tab, FIRST, 19, 6) != at(tab, SECOND, 19, 6)).any()  # here they differ
    assert np.abs(at(tab, FIRST, 20, 26) - at(tab, SECOND, 20, 26)).max() < 8  # and here not
    for _ in range(3):
        tab.keyboard.press("+")
    before = box_of(tab)
    assert before[2] < 32
    tab.keyboard.press("Shift+ArrowRight")
    until(tab, "was => document.querySelector('#panes').dataset.ready.split(' ')[1] !== was",
          arg=",".join(map(str, before)))  # fmt: skip
    after = box_of(tab)
    assert after[0] > before[0] and after[1] == before[1]
    sizes = [pixels(tab, one).shape for one in (FIRST, SECOND)]
    assert sizes[0] == sizes[1]
    tab.keyboard.press("d")
    until(tab, "document.querySelector('figcaption').innerText === 'difference'")
    assert box_of(tab) == after  # the place stays
    tab.keyboard.press("0")
    ready(tab, "whole")
    red, green, blue = at(tab, FIRST, 19, 6)
    assert red > green + 60 and red > blue + 60
    assert np.ptp(at(tab, FIRST, 10, 28)) < 8  # grey, as the picture is: nothing differs
    tab.keyboard.press("?")
    assert "side by side with the truth" in tab.inner_text("#help")
    tab.keyboard.press("Escape")
    tab.reload()  # the address shows the same
    ready(tab, "whole")
    assert tab.locator("figcaption").all_inner_texts() == ["difference", "truth"]
    tab.keyboard.press("ArrowRight")
    until(tab, "document.querySelector('h1').innerText !== 'a/000.png'")
    ready(tab, "whole")
    assert tab.locator("#panes canvas").count() == 2
    tab.keyboard.press("s")
    until(tab, "document.querySelectorAll('#panes canvas').length === 1")


def test_side_by_side_by_mouse(tab):
    tab.locator("#beside").select_option("difference")
    until(tab, "document.querySelectorAll('#panes canvas').length === 2")
    ready(tab, "whole")
    place = tab.locator(SECOND).bounding_box()
    middle = place["x"] + place["width"] / 2, place["y"] + place["height"] / 2
    tab.mouse.move(*middle)
    tab.mouse.wheel(0, -400)
    before = box_of(tab)
    assert before[2] < 32
    tab.mouse.down()
    tab.mouse.move(middle[0] + 90, middle[1] + 90, steps=4)
    tab.mouse.up()
    until(tab, "was => document.querySelector('#panes').dataset.ready.split(' ')[1] !== was",
          arg=",".join(map(str, before)))  # fmt: skip
    after = box_of(tab)
    assert after[0] < before[0] and after[1] < before[1]
    tab.locator("#beside").select_option("")
    until(tab, "document.querySelectorAll('#panes canvas').length === 1")
    tab.locator("#layer").select_option("truth")
    until(tab, "document.querySelector('figcaption').innerText === 'truth'")
    assert "layer=truth" in tab.url
    tab.locator("#back").click()
    tab.wait_for_selector(".card")
    assert tab.locator("#f-clear").count() == 0  # what an image is shown as filters nothing
