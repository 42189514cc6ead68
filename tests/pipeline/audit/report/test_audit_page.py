"""The page: one file, no network, nothing injected; and it works in a real browser."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from maskmill.pipeline.audit.report.page import audit_page
from maskmill.pipeline.audit.report.thumbnails import SIDE, ThumbnailMaker
from tests.browser_pages import OTHER_SCREENS, SCREENS, serious, watched

WIDE, NARROW = SCREENS


@pytest.fixture(scope="module")
def page(audited):
    return audit_page(*audited)


class Elements(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def elements(page, tag):
    parser = Elements()
    parser.feed(page)
    return [attributes for name, attributes in parser.found if name == tag]


def test_the_page_needs_no_other_file(page):
    for tag, attribute in (("img", "src"), ("script", "src"), ("link", "href"), ("iframe", "src")):
        for found in elements(page, tag):
            assert found.get(attribute, "data:").startswith("data:"), found
    assert not re.search(r"@import|url\((?!data:)|https?://", page)


def test_names_from_outside_cannot_become_markup(page):
    assert all("style" in found for found in elements(page, "i"))  # our bars, nobody's key
    assert len(elements(page, "script")) == 2
    assert page.count("</script>") == 2


def test_thumbnails_show_the_pair(audited):
    document, settings = audited
    row = document["worst_images"][0]
    drawn = ThumbnailMaker(settings).draw(row)
    sizes = set()
    for uri in (drawn.image, drawn.truth, drawn.prediction, drawn.difference):
        _, data = re.fullmatch(r"data:image/(png|jpeg);base64,(.*)", uri).groups()
        sizes.add(Image.open(io.BytesIO(base64.b64decode(data))).size)
    assert sizes == {(320, 240)} and SIDE > 320  # never enlarged
    drawn = ThumbnailMaker(settings).draw({**row, "image_uri": None})  # the classes alone
    truth = np.asarray(
        Image.open(io.BytesIO(base64.b64decode(drawn.truth.split(",")[1]))).convert("RGB")
    )
    colors = {tuple(color) for color in truth.reshape(-1, 3).tolist()}
    known = {tuple(entry.color) for entry in settings.labels.classes} | {(224, 224, 192)}
    assert colors <= known | {(255, 0, 255)} and len(colors & known) >= 4


def test_a_box_is_cropped_and_a_vanished_file_is_left_out(audited):
    document, settings = audited
    maker = ThumbnailMaker(settings)
    suspect = document["suspected_label_errors"][0]
    whole, crop = maker.draw(suspect), maker.draw(suspect, tuple(suspect["bbox"]))
    assert whole.truth != crop.truth and crop.image
    assert maker.draw({**suspect, "truth_uri": "/nowhere/x.png"}) is None
    assert maker.draw({**suspect, "image_uri": "/nowhere/x.png"}).image == ""


def test_an_audit_without_pairs_has_a_page_too(audited):
    from maskmill.pipeline.audit.document import audit_document
    from maskmill.pipeline.audit.tally import AuditTally

    settings = audited[1]
    empty = audit_document(AuditTally(settings.labels, 0, resamples=10), {}, {})
    assert "There is no image to show" in audit_page(empty, settings)


@pytest.fixture
def opened(browser, page, tmp_path):
    """The page opened from disk, offline, with everything that went wrong on the way."""
    path = tmp_path / "report.html"
    path.write_text(page, encoding="utf-8")
    context = browser.new_context(offline=True, viewport={"width": 1280, "height": 900})
    tab = context.new_page()
    problems = []
    tab.on("console", lambda message: problems.append(message.text))
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.on("requestfailed", lambda request: problems.append(request.url[:80]))
    tab.goto(path.as_uri())
    yield tab, problems
    context.close()


def shown(tab):
    return tab.locator("#gallery figure:visible")


def test_it_opens_without_console_errors(opened):
    tab, problems = opened
    tab.mouse.wheel(0, 20_000)
    assert problems == []
    broken = tab.evaluate("[...document.images].filter(one => !one.naturalWidth).length")
    assert broken == 0 and tab.locator("img").count() > 40


def test_filters_by_class_and_name(opened):
    tab, problems = opened
    assert shown(tab).count() == 8 and tab.inner_text("#gallery + .more") == "Show all 10"
    tab.click("#gallery + .more")
    assert shown(tab).count() == 10
    tab.select_option("#class-filter", "dog")
    scores = tab.evaluate(
        "[...document.querySelectorAll('#gallery figure:not([hidden])')]"
        ".map(one => JSON.parse(one.dataset.classes).dog)"
    )
    assert len(scores) >= 1 and scores == sorted(scores)
    assert f"{len(scores)} of 10 shown" in tab.inner_text("#shown")
    tab.select_option("#class-filter", "")
    tab.fill("#name-filter", "FOLDER/03")
    assert shown(tab).count() == 1
    tab.fill("#name-filter", "nothing of the kind")
    assert shown(tab).count() == 0
    assert problems == []


def test_the_class_table_sorts(opened):
    tab, problems = opened
    column = (
        "[...document.querySelectorAll('#class-table tbody tr')]"
        ".map(row => row.cells[1].dataset.value)"
    )
    button = tab.locator("#class-table th button", has_text="IoU").first
    orders = []
    for _ in range(2):
        button.click()
        orders.append(tab.evaluate(column))
    known = [[float(value) for value in order if value] for order in orders]
    assert known[0] == sorted(known[0], reverse=True) and known[1] == sorted(known[1])
    assert all(order[-1] == "" for order in orders)  # the class without a number stays last
    assert problems == []


def test_pictures_can_be_enlarged_and_numbers_say_their_definition(opened, audited):
    tab, problems = opened
    pictures = tab.locator("#gallery figure .four").first
    small = pictures.bounding_box()["width"]
    pictures.click()
    assert pictures.bounding_box()["width"] > 1.8 * small
    pictures.click()
    assert pictures.bounding_box()["width"] == small
    tab.keyboard.press("Enter")
    assert pictures.bounding_box()["width"] > 1.8 * small
    tab.keyboard.press("Escape")
    tab.keyboard.press("ArrowRight")
    assert tab.evaluate(
        "document.activeElement.parentNode === document.querySelectorAll('#gallery figure')[1]"
    )
    card = tab.locator(".card").first
    card.locator("summary").click()
    assert audited[0]["metrics"]["miou"]["definition"] in card.inner_text()
    assert tab.locator("#deciles tbody tr").count() >= 4
    assert problems == []


def test_the_heatmap_can_be_read(opened, audited):
    tab, problems = opened
    box = tab.locator("#heatmap").bounding_box()
    scale = box["width"] / (110 + 6 * 28)  # names at the left and at the top, then six cells
    x, y = (scale * (110 + (place + 0.5) * 28) for place in (1, 0))
    tab.locator("#heatmap").click(position={"x": x, "y": y})
    pixels = audited[0]["confusion_matrix"][0][1]
    assert f"truth ground, predicted cat: {pixels:,} pixels" in tab.inner_text("#cell")
    assert problems == []


def test_it_fits_a_phone(opened):
    tab, problems = opened
    tab.set_viewport_size({"width": 360, "height": 740})
    widths = tab.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert widths[0] <= widths[1]
    assert problems == []


def test_the_mean_iou_comes_first_and_the_folded_page_is_not_long(opened, audited):
    tab, problems = opened
    metric = audited[0]["metrics"]["miou"]
    headline = tab.locator(".headline b")
    assert headline.inner_text() == f"{metric['value']:.4f}"
    assert headline.bounding_box()["y"] < 120 and headline.bounding_box()["height"] > 40
    assert not tab.locator("#definitions + details").evaluate("one => one.open")
    assert tab.evaluate("document.documentElement.scrollHeight") <= 6000
    assert problems == []


@pytest.mark.parametrize("screen", [NARROW, *(pytest.param(one, marks=pytest.mark.slow)
                                              for one in (WIDE, *OTHER_SCREENS))])  # fmt: skip
def test_every_screen_has_the_mean_iou_first_and_pictures_by_keyboard(
    browser, page, audited, tmp_path, screen
):
    path = tmp_path / "report.html"
    path.write_text(page, encoding="utf-8")
    with watched(browser, {**SCREENS, **OTHER_SCREENS}[screen], offline=True) as tab:
        tab.goto(path.as_uri())
        headline = tab.locator(".headline b")
        assert headline.inner_text() == f"{audited[0]['metrics']['miou']['value']:.4f}"
        assert headline.bounding_box()["y"] < 120 and headline.bounding_box()["height"] > 40
        assert tab.evaluate("document.documentElement.scrollHeight") <= 6000
        pictures = tab.locator("#gallery figure .four").first
        picture = pictures.locator("img").first
        pictures.focus()
        small = picture.bounding_box()["width"]
        tab.keyboard.press("Enter")
        assert picture.bounding_box()["width"] > 1.3 * small
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
        tab.keyboard.press("Escape")
        assert picture.bounding_box()["width"] == small


@pytest.mark.slow
@pytest.mark.parametrize("screen", SCREENS)
def test_axe_finds_no_serious_fault(browser, page, axe, tmp_path, screen):
    path = tmp_path / "report.html"
    path.write_text(page, encoding="utf-8")
    with watched(browser, SCREENS[screen]) as tab:
        tab.goto(path.as_uri())
        assert serious(tab, axe) == []


def test_truth_and_prediction_lie_over_the_picture(audited):
    document, settings = audited
    row = document["worst_images"][0]
    drawn = ThumbnailMaker(settings).draw(row)
    assert drawn.truth.startswith("data:image/jpeg") and drawn.truth != drawn.image
    seen = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))).astype(int)
        for uri in (drawn.image, drawn.truth)
    ]
    truth = np.asarray(Image.open(row["truth_uri"]))
    inside = np.zeros(truth.shape, bool)
    inside[2:-2, 2:-2] = True  # where the ground lies with nothing else near, nothing is painted
    for step in (-2, -1, 1, 2):
        for axis in (0, 1):
            inside &= np.roll(truth, step, axis) == 0
    inside &= truth == 0
    assert np.abs(seen[0] - seen[1])[inside].mean() < 12
    assert np.abs(seen[0] - seen[1])[truth == 1].mean() > 25
