"""Decisions, colours, what can be opened, and the page without a server."""

import colorsys
import os
import shutil
import threading
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from maskmill.pipeline.masks.picture import index_png
from maskmill.pipeline.reports.page import report_page, write_report
from maskmill.pipeline.review import gallery
from maskmill.pipeline.review.decisions import Decisions, read_verdicts
from maskmill.pipeline.review.display_colors import display_color, displayed
from maskmill.pipeline.review.export import export_decisions
from maskmill.pipeline.review.opening import Opening, open_subject
from maskmill.pipeline.review.query import Query
from maskmill.pipeline.review.renditions import Crop, Renditions
from maskmill.pipeline.review.slim_index import SlimIndex
from maskmill.schemas.errors import FileFailure, SettingsError
from maskmill.schemas.labels import builtin

VOC = builtin("voc")
NASTY = "</script><b>& name"
SKIN = [(141, 85, 36), (198, 134, 66), (224, 172, 105), (241, 194, 125), (255, 219, 172)]
SKY = [(135, 206, 235), (100, 149, 237), (176, 224, 230), (70, 130, 180)]


def test_the_last_word_counts_and_every_word_is_kept(tmp_path):
    decisions = Decisions(tmp_path)
    decisions.say("a", "decision", "accepted", "ann")
    decisions.say("b", "decision", "flagged", "ann")
    last = decisions.last_id()
    decisions.say("a", "decision", "rejected", "bob")
    decisions.say("a", "note", "torn edge", "cleo")
    assert [(one.key, one.decision, one.note, one.reviewer) for one in decisions.standing()] == [
        ("a", "rejected", "torn edge", "bob"), ("b", "flagged", "", "ann"),
    ]  # fmt: skip
    assert [one.key for one in decisions.changed_since(last)] == ["a"]
    assert [word.value for word in decisions.history("a")] == ["accepted", "rejected", "torn edge"]
    with pytest.raises(SettingsError, match="no decision 'maybe'"):
        decisions.say("a", "decision", "maybe", "ann")
    with pytest.raises(SettingsError, match="at most"):
        decisions.say("a", "note", "x" * 5000, "ann")
    decisions.close()


def test_two_servers_share_one_file(tmp_path):
    files = [Decisions(tmp_path), Decisions(tmp_path)]

    def say(file, who):
        for turn in range(20):
            file.say(f"k{turn % 3}", "decision", "accepted", f"{who}-{turn}")

    threads = [threading.Thread(target=say, args=(files[n % 2], n)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    words = [word.reviewer for key in ("k0", "k1", "k2") for word in files[0].history(key)]
    assert sorted(words) == sorted(f"{who}-{turn}" for who in range(4) for turn in range(20))
    for file in files:
        file.close()


def test_a_damaged_file_is_told_with_what_to_do_and_left_alone(tmp_path):
    (tmp_path / "decisions.sqlite").write_bytes(b"no database at all" * 300)
    with pytest.raises(SettingsError, match=r"holds no decisions .* put back a copy"):
        Decisions(tmp_path)
    assert (tmp_path / "decisions.sqlite").read_bytes() == b"no database at all" * 300
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SettingsError, match=r"cannot be kept .* --review-dir"):
        Decisions(tmp_path / "file" / "below")


def test_lists_leave_out_what_no_line_can_hold(tmp_path):
    with pytest.raises(SettingsError, match="nobody has decided"):
        read_verdicts(tmp_path)
    decisions = Decisions(tmp_path / "review")
    for key in ("plain.jpg", "two\nlines.jpg", "=sum.jpg"):
        decisions.say(key, "decision", "accepted", "ann")
    decisions.close()
    found = export_decisions(tmp_path / "review", tmp_path / "out")
    assert (tmp_path / "out" / "accepted.txt").read_text() == "=sum.jpg\nplain.jpg\n"
    assert found.unlisted == ("two\nlines.jpg",) and found.counts["accepted"] == 3
    assert "'=sum.jpg" in (tmp_path / "out" / "decisions.csv").read_text()


def lab(rgb):
    """CIELAB under D65, by the formulas of CIE 15."""
    part = np.asarray(rgb, float) / 255
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    xyz = linear @ np.array([[0.4124, 0.2126, 0.0193], [0.3576, 0.7152, 0.1192],
                             [0.1805, 0.0722, 0.9505]]) / [0.9505, 1.0, 1.089]  # fmt: skip
    root = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * root[1] - 16, 500 * (root[0] - root[1]), 200 * (root[1] - root[2])])


def test_classes_are_shown_unlike_skin_and_sky_and_unlike_their_neighbours():
    colors = [display_color(place) for place in range(20)]
    for color in colors:
        hue = 360 * colorsys.rgb_to_hsv(*(part / 255 for part in color))[0]
        assert not 5 < hue < 50 and not 185 < hue < 240
        assert all(np.linalg.norm(lab(color) - lab(other)) > 30 for other in SKIN + SKY)
    for first, second in pairwise(colors):
        assert np.linalg.norm(lab(first) - lab(second)) > 30
    shown = displayed(VOC)
    assert shown.classes[0].color == VOC.classes[0].color
    assert len({entry.color for entry in shown.classes}) == 21


@pytest.fixture
def masks(tmp_path):
    """(masks, pictures): three palette masks, one of them no mask at all, one nasty name."""
    folder, pictures = tmp_path / "masks", tmp_path / "pictures"
    for number, name in enumerate(("one", "two", "three")):
        mask = np.zeros((40 + number, 50), np.uint8)
        mask[5:20, 5:30] = 15
        folder.mkdir(exist_ok=True)
        pictures.mkdir(exist_ok=True)
        (folder / f"{name}.png").write_bytes(index_png(mask, palette=VOC.palette))
        Image.fromarray(np.full((*mask.shape, 3), 90, np.uint8)).save(pictures / f"{name}.png")
    (folder / "broken.png").write_bytes(b"nothing")
    return folder, pictures


def test_a_data_set_is_listed_at_once_and_filled_while_it_is_read(masks):
    folder, pictures = masks
    opening = Opening(format="palette", labels="voc", images=str(pictures))
    subject = open_subject(str(folder), opening)
    index = SlimIndex(subject, None)
    index.refresh()
    assert gallery.counts(index, Query())["status"] == {"unread": 4}
    assert subject.standing().state == "running"
    subject.look()
    index.refresh()
    assert subject.standing().state == "finished"
    assert gallery.counts(index, Query())["status"] == {"ok": 3, "failed": 1}
    assert gallery.counts(index, Query())["classes"] == {0: 3, 15: 3}
    item = gallery.item(index, gallery.number_of(index, "two.png"))
    mask = subject.mask(item)
    assert mask.shape == (41, 50) and (mask == 15).sum() == 15 * 25
    assert Renditions(subject).thumbnail(item, 32)
    broken = next(row for row in gallery.page(index, Query(status="failed"), 0, 9))
    with pytest.raises(FileFailure):
        subject.mask(gallery.item(index, broken["n"]))


def test_options_that_do_not_fit_are_refused(masks, tmp_path):
    with pytest.raises(SettingsError, match=r"no run .* and no data set"):
        open_subject(str(tmp_path / "pictures"))
    with pytest.raises(SettingsError, match=r"--truth .*leave it out"):
        open_subject(str(masks[0]), Opening(format="palette", labels="voc", truth="x"))


def test_crops_stay_inside():
    for box in ((-50, -50, 10, 10), (90, 70, 500, 500), (0, 0, 1, 1)):
        rows, columns = Crop(64, box).placed((80, 100))
        assert 0 <= rows.start < rows.stop <= 80 and 0 <= columns.start < columns.stop <= 100
    assert Crop(10).shown((80, 100)) == (8, 10)
    assert Crop(9999, (0, 0, 7, 5)).shown((80, 100)) == (5, 7)


def test_a_conversion_is_seen_in_its_new_classes_and_reported(masks, tmp_path):
    from maskmill.jobs.engines.choice import RunOptions
    from maskmill.jobs.run import run
    from maskmill.pipeline.convert.job import ConvertJob
    from maskmill.pipeline.convert.options import conversion_request

    folder, pictures = masks
    shutil.copy(folder / "one.png", folder / f"{NASTY.replace('/', '')}.png")
    request = conversion_request(
        source=str(folder), from_format="palette", to_format="indexed", labels="voc",
        images=str(pictures),
    )  # fmt: skip
    run(ConvertJob(request=request, out=str(tmp_path / "out")), RunOptions(engine="local"))
    subject = open_subject(str(tmp_path / "out"))
    index = SlimIndex(subject, None)
    index.refresh()
    assert gallery.counts(index, Query())["status"] == {"ok": 4, "failed": 1}
    item = gallery.item(index, gallery.number_of(index, "one.png"))
    np.testing.assert_array_equal(np.unique(subject.mask(item)), [0, 15])
    page = report_page(subject)
    assert page.count("<figure>") == 4 and "inputs 5 = ok 4 + failed 1" in page
    assert "<b>& name" not in page and page.count("<script>") == 1
    path = write_report(str(tmp_path / "out"), pictures=2)
    assert os.path.getsize(path) < 60_000  # noqa: PTH202
    with open(path, encoding="utf-8") as file:  # noqa: PTH123
        assert file.read().count("<figure>") == 2
