"""The page in Chromium: by mouse and by keyboard, wide and narrow, light and dark."""

import re
import shutil

import numpy as np
import pytest

import maskmill
from tests.browser_pages import SCREENS, pixels, serious, until, watched
from tests.jobs.web.conftest import NASTY, Served

WIDE, NARROW = SCREENS


@pytest.fixture(scope="module")
def looked_at(made, tmp_path_factory):
    """A server over a copy of the run, whose decisions are this module's."""
    run = tmp_path_factory.mktemp("copy") / "run"
    shutil.copytree(made[1], run, ignore=shutil.ignore_patterns("review"))
    server = Served(run)
    yield server, run
    server.stop()


@pytest.fixture(params=[WIDE, pytest.param(NARROW, marks=pytest.mark.slow)])
def tab(request, browser, looked_at):
    with watched(browser, SCREENS[request.param]) as page:
        page.goto(looked_at[0].address)
        page.wait_for_selector(".card")
        yield page


def keys_of(page):
    return page.eval_on_selector_all(".card", "cards => cards.map(card => card.dataset.key)")


def opened(page, key):
    page.locator(f'.card[data-key="{key}"]').click()
    page.wait_for_selector("#panes[data-ready]")


def unfold(page):
    if not page.evaluate("document.querySelector('details.side').open"):
        page.locator("details.side > summary").click()


def test_the_gallery_by_mouse(tab, looked_at):
    assert "8 images" in tab.inner_text("#total") and NASTY in keys_of(tab)
    assert "not_an_image" in tab.locator(".card.failed").inner_text()
    unfold(tab)
    before = keys_of(tab)
    bar = tab.locator("#class-bars button").last
    expected = int(bar.locator("b").inner_text())
    bar.click()
    until(tab, f"document.querySelectorAll('.card').length === {expected}")
    assert f"class={bar.get_attribute('data-class')}" in tab.url
    tab.goto(tab.url)  # a link shows the same
    until(tab, f"document.querySelectorAll('.card').length === {expected}")
    tab.locator("#f-clear").click()
    until(tab, "document.querySelectorAll('.card').length === 8")
    tab.locator("#f-sort").select_option("key")
    until(tab, "document.querySelector('.card').dataset.key.startsWith('<img')")
    assert keys_of(tab) == sorted(before) and "sort=key" in tab.url
    tab.locator("#f-order").click()
    until(tab, "document.querySelector('.card').dataset.key.startsWith('zz')")
    tab.locator("#f-text").fill("three")
    tab.keyboard.press("Enter")
    until(tab, "document.querySelectorAll('.card').length === 1")
    tab.go_back()
    until(tab, "document.querySelectorAll('.card').length === 8")
    unfold(tab)
    tab.locator("#f-status").select_option("failed")
    until(tab, "document.querySelectorAll('.card').length === 1")
    tab.locator("#f-clear").click()
    until(tab, "document.querySelectorAll('.card').length === 8")
    tab.locator("#f-entropy input").last.fill("0.001")
    tab.keyboard.press("Enter")
    tab.wait_for_selector(".empty")


def test_one_image_by_mouse(tab, looked_at):
    run = maskmill.open_run(looked_at[1])
    opened(tab, "b/three.png")
    shown, mask = pixels(tab), run.mask("b/three.png")
    tab.locator("#toggle").click()
    plain = pixels(tab)
    assert (shown != plain).any()
    scale = min(plain.shape[1] / mask.shape[1], plain.shape[0] / mask.shape[0])
    top = round(plain.shape[0] / 2 - mask.shape[0] / 2 * scale)
    left = round(plain.shape[1] / 2 - mask.shape[1] / 2 * scale)
    photo = run.image("b/three.png")
    at = [(y, x) for y in (5, 70, 90) for x in (5, 70, 85)]
    for y, x in at:  # the photograph lies where the mask's pixels are
        seen = plain[round(top + (y + 0.5) * scale), round(left + (x + 0.5) * scale), :3].astype(
            int
        )
        assert np.abs(seen - photo[y, x].astype(int)).max() < 40
    tab.locator("#toggle").click()
    np.testing.assert_array_equal(pixels(tab), shown)
    switch = tab.locator(".switch input:not([disabled])").first
    switch.uncheck()
    assert (pixels(tab) != shown).any()
    switch.check()
    tab.locator("#mode").select_option("outline")
    outlined = pixels(tab)
    assert (outlined != shown).any() and (outlined[..., :3] == 255).all(-1).any()
    tab.locator("#mode").select_option("both")
    tab.locator("#layer").select_option("confidence")
    tab.wait_for_timeout(300)
    assert (pixels(tab) != shown).any()
    tab.locator("#layer").select_option("mask")
    tab.locator('[aria-label="zoom in"]').click()
    until(tab, "/^\\d+ \\d+,/.test(document.querySelector('#panes').dataset.ready)")
    _, box = tab.get_attribute("#panes", "data-ready").split(" ")
    assert len(box.split(",")) == 4 and int(box.split(",")[2]) <= mask.shape[1]
    tab.locator('[aria-label="whole picture"]').click()
    assert "png" in tab.locator("dd", has_text="three.png").first.inner_text()
    assert tab.locator('[aria-label="copy mask"]').count() == 1
    tab.locator("#back").click()
    tab.wait_for_selector(".card")


def test_review_by_keyboard_alone(tab, looked_at):
    server, _ = looked_at
    for row in server.ask("/api/page")["rows"]:  # what was decided on the other screen
        server.say(n=row["n"], kind="decision", value="", reviewer="")
        server.say(n=row["n"], kind="note", value="", reviewer="")
    tab.goto(f"{server.root}/?sort=key&status=ok")
    until(tab, "document.querySelectorAll('.card').length === 7")
    until(tab, "document.querySelector('#f-sort') !== null")
    order = keys_of(tab)
    tab.keyboard.press("ArrowRight")
    until(tab, "key => document.activeElement.dataset.key === key", arg=order[0])
    tab.keyboard.press("ArrowRight")
    assert tab.evaluate("document.activeElement.dataset.key") == order[1]
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#panes[data-ready]")
    assert tab.inner_text("h1") == order[1]
    before = pixels(tab)
    tab.keyboard.press("Space")
    assert (pixels(tab) != before).any()
    tab.keyboard.press("Space")
    tab.keyboard.press("1")
    assert (pixels(tab) != before).any()
    tab.keyboard.press("1")
    for key, value in (("a", "accepted"), ("r", "rejected"), ("f", "flagged")):
        now = tab.inner_text("h1")
        tab.keyboard.press(key)
        until(tab, "before => document.querySelector('h1').innerText !== before", arg=now)
        row = next(row for row in server.ask("/api/page")["rows"] if row["key"] == now)
        assert row["decision"] == value
    assert tab.inner_text("h1") == order[4]
    tab.keyboard.press("u")
    until(tab, "key => document.querySelector('h1').innerText === key", arg=order[3])
    assert tab.get_attribute('[data-decision="flagged"]', "aria-pressed") == "true"
    tab.keyboard.press("f")  # again: taken back
    tab.wait_for_selector('[data-decision="flagged"][aria-pressed="false"]')
    tab.keyboard.press("n")
    tab.keyboard.type("the edge, of all things")
    tab.keyboard.press("Control+Enter")
    tab.wait_for_selector(".noted")
    assert "edge" in tab.inner_text(".noted")
    tab.keyboard.press("ArrowLeft")
    until(tab, "key => document.querySelector('h1').innerText === key", arg=order[2])
    tab.keyboard.press("?")
    assert "accept" in tab.inner_text("#help")
    tab.keyboard.press("Escape")
    tab.keyboard.press("Escape")
    tab.wait_for_selector(".card")
    until(tab, "key => document.activeElement.dataset.key === key", arg=order[2])
    assert re.search(r"\d+ reviewed, \d+ left", tab.inner_text("#progress"))
    tab.keyboard.press("/")
    assert tab.evaluate("document.activeElement.id") == "f-text"


@pytest.mark.slow
def test_axe_finds_no_serious_fault(tab, axe, looked_at):
    unfold(tab)
    assert serious(tab, axe) == []
    tab.goto(f"{looked_at[0].root}/?image=b%2Fthree.png")
    tab.wait_for_selector("#panes[data-ready]")
    assert serious(tab, axe) == []
    tab.keyboard.press("?")
    assert serious(tab, axe) == []
    tab.goto(f"{looked_at[0].root}/?tab=try")
    tab.wait_for_selector("#trial-model option", state="attached")
    assert serious(tab, axe) == []
