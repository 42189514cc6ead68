"""What a fine-tuning leaves for people: report.html, and events for TensorBoard."""

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image

from maskmill.jobs.cli import main
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.training.events import check_events
from maskmill.schemas.errors import SettingsError
from tests.made_set import LABELS, write_made_set

SMALL = (
    "--model", "deeplabv3_mobilenetv2_x05_voc", "--untrained", "--image-size", "65",
    "--crop-size", "65", "--batch-size", "2", "--precision", "fp32", "--threads", "1",
    "--validation-share", "0.3", "--epochs", "2",
)  # fmt: skip
GREEN, DARK = (64, 180, 110), (46, 52, 64)
"""Right now; right in both."""


def invoke(*arguments: object):
    return CliRunner().invoke(main, [str(one) for one in arguments])


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = write_made_set(tmp_path_factory.mktemp("data") / "made", 11)
    (folder / "images" / "004.png").write_bytes(b"<b>no picture</b>")
    return folder


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "out"
    result = invoke("finetune", data, out, *SMALL)
    assert result.exit_code == 3, result.output
    assert str(out / "report.html") in result.output
    return out


class Page(HTMLParser):
    """Addresses that a page names, the pictures of each figure, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.figures: dict[str, dict[str, str]] = {}
        self.lines: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs) -> None:
        known = dict(attrs)
        self.addresses += [known[name] for name in ("src", "href") if known.get(name)]
        if tag == "figure":
            self.figures[known["data-key"]] = {}
        elif tag == "img" and self.figures and known.get("src"):
            self.figures[list(self.figures)[-1]][known["alt"].split(", ")[-1]] = known["src"]
        elif tag == "polyline":
            self.lines.append(known["points"])

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.fixture(scope="module")
def page(trained) -> Page:
    return Page((trained / "report.html").read_text())


def pixels_of(uri: str) -> np.ndarray:
    data = base64.b64decode(uri.partition("base64,")[2])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_the_page_needs_nothing_but_itself(page) -> None:
    outside = [one for one in page.addresses if not one.startswith(("data:", "#"))]
    assert not outside and len(page.lines) == 3 + len(LABELS.classes)


def test_it_says_what_the_rows_say(page, trained) -> None:
    card = json.loads((trained / "model" / "model.json").read_text())
    for name, score in card["scores"]["iou"].items():
        assert f"{name}{card['before']['iou'][name]['value']:.4f}{score['value']:.4f}" in page.words
    assert "waited for data" in page.words
    losses = [row["loss"] for row in pq.read_table(trained / "rows" / "steps").to_pylist()]
    assert len(page.lines[0].split()) == len(losses)
    heights = [float(point.split(",")[1]) for point in page.lines[0].split()]
    assert np.argmin(heights) == np.argmax(losses)


def test_failed_samples_stand_there_as_text(page, trained) -> None:
    assert "004.png" in page.words and "not_an_image" in page.words
    assert "<b>no picture" not in (trained / "report.html").read_text()


def test_the_worst_pictures_come_first(page, trained) -> None:
    card = json.loads((trained / "model" / "model.json").read_text())
    rows = pq.read_table(trained / "rows" / "validation").to_pylist()
    after = {row["key"]: row["miou"] for row in rows if row["epoch"] == card["scores"]["epoch"]}
    assert list(page.figures) == sorted(after, key=lambda key: (after[key], key))
    names = {"picture", "truth", "before", "after", "change"}
    assert all(set(one) == names for one in page.figures.values())


def test_what_it_paints_right_is_right_in_the_masks_of_prelabel(
    page, trained, data, tmp_path
) -> None:
    key = next(iter(page.figures))
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / key).write_bytes((data / "images" / key).read_bytes())
    told = ("--model", trained / "model", "--precision", "fp32")
    assert invoke("prelabel", alone, tmp_path / "labels", *told).exit_code == 0
    found = np.asarray(Image.open(tmp_path / "labels" / "masks" / key))
    right = found == np.asarray(Image.open(data / "masks" / key))
    painted = pixels_of(page.figures[key]["change"])
    shown = np.isin(
        painted @ [1, 256, 65536], [np.dot(one, [1, 256, 65536]) for one in (GREEN, DARK)]
    )
    assert (shown == right).mean() > 0.995  # fused convolutions round differently


def test_a_page_that_is_gone_is_written_again(trained, data) -> None:
    before = (trained / "report.html").read_bytes()
    (trained / "report.html").unlink()
    assert invoke("finetune", data, trained, *SMALL).exit_code == 3
    assert (trained / "report.html").read_bytes() == before
    assert not (trained / "tensorboard").exists()


def test_events_are_the_rows_also_when_asked_for_later(trained, data) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    result = invoke("finetune", data, trained, *SMALL, "--write", "tensorboard")
    assert result.exit_code == 3, result.output
    events = reader.EventAccumulator(str(trained / "tensorboard")).Reload()
    rows = pq.read_table(trained / "rows" / "steps").to_pylist()
    for name in ("loss", "rate", "gradient_norm"):
        told = [(one.step, one.value) for one in events.Scalars(f"step/{name}")]
        assert told == [(row["step"], pytest.approx(row[name], rel=1e-6)) for row in rows]
    card = json.loads((trained / "model" / "model.json").read_text())
    last = events.Scalars("validation/iou/disc")[-1]
    assert last.step == card["training"]["steps"]
    assert len(events.Scalars("validation/miou")) == 3  # before the first step, and two epochs


def test_events_come_while_it_trains(data, tmp_path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    result = invoke("finetune", data, tmp_path, *SMALL, "--write", "tensorboard")
    assert result.exit_code == 3, result.output
    events = reader.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    steps = [row["step"] for row in pq.read_table(tmp_path / "rows" / "steps").to_pylist()]
    assert [one.step for one in events.Scalars("step/loss")] == steps


def test_events_that_cannot_be_written_are_refused_first(data, tmp_path) -> None:
    result = invoke("finetune", data, tmp_path / "out", *SMALL, "--write", "masks")
    assert result.exit_code == 2 and "there is: tensorboard" in result.output
    with pytest.raises(SettingsError, match="no folder of this machine"):
        check_events(RunLayout("mock://runs"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_says_nothing_on_the_console(browser, trained, scheme) -> None:
    opened = browser.new_page(viewport={"width": 390, "height": 800}, color_scheme=scheme)
    said: list[str] = []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.goto((trained / "report.html").as_uri())
    assert opened.evaluate("document.documentElement.scrollWidth") <= 390 and not said
    opened.locator(".enlarge").first.click()
    assert opened.locator("dialog[open] img").count() == 1
    colors = "getComputedStyle(document.body)"
    paper = re.findall(r"\d+", opened.evaluate(f"{colors}.backgroundColor"))
    assert (sum(map(int, paper[:3])) > 600) == (scheme == "light")
    opened.close()
