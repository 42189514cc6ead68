"""`maskmill audit` as people run it: exit codes, files, what is printed; and `audit compare`."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image

from maskmill.jobs.cli import main
from maskmill.pipeline.audit.job import AuditJob
from maskmill.pipeline.audit.plan import AuditOptions
from maskmill.schemas.errors import SettingsError
from maskmill.schemas.tables.audit import AUDIT, REGIONS

ROOT = Path(__file__).resolve().parents[2]


def maskmill(*arguments, **environment):
    command = [sys.executable, "-m", "maskmill", *(str(argument) for argument in arguments)]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False,
        env={**os.environ, "COLUMNS": "100", **environment},
    )  # fmt: skip


def refused(*arguments):
    """A command that ends before any worker starts, run in this process."""
    ended = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exception
    return ended


def scene(seed):
    rng = np.random.default_rng(seed)
    mask = np.zeros((120, 160), np.uint8)
    for label in (8, 12, 15):
        y, x = rng.integers(4, 70), rng.integers(4, 100)
        mask[y - 2 : y + 42, x - 2 : x + 52] = 255
        mask[y : y + 40, x : x + 50] = label
    return mask


def save(folder, masks):
    folder.mkdir(exist_ok=True)
    for name, mask in masks.items():
        Image.fromarray(mask).save(folder / f"{name}.png")
    return folder


def predictions(masks, error, seed=0):
    rng = np.random.default_rng(seed)
    made = {}
    for name, mask in masks.items():
        wrong = rng.random(mask.shape) < error
        made[name] = np.where((mask == 255) | wrong, 0, mask).astype(np.uint8)
    return made


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """40 pairs and their pictures; of a second set of predictions two are sick and one is gone."""
    folder = tmp_path_factory.mktemp("audit")
    masks = {f"{number:02}": scene(number) for number in range(40)}
    save(folder / "truth", masks)
    save(folder / "good", predictions(masks, 0.02))
    worse = save(folder / "worse", predictions(masks, 0.1))
    (worse / "03.png").write_bytes(b"")
    (worse / "04.png").unlink()
    Image.fromarray(masks["05"].T.copy()).save(worse / "05.png")
    photos = {name: np.stack([mask] * 3, axis=2) for name, mask in masks.items()}
    save(folder / "photos", photos)
    return folder


@pytest.fixture(scope="module")
def good(data):
    """The good predictions audited, with everything."""
    return maskmill(
        "audit", data / "good", data / "truth", "--labels", "voc", "--images", data / "photos",
        "--out", data / "A", "--fail-under", "miou=0.9,iou/cat=0.5", "--block-pairs", 7,
        "--resamples", 200,
    )  # fmt: skip


@pytest.fixture(scope="module")
def worse(data):
    """The worse predictions, for machines."""
    return maskmill(
        "audit", data / "worse", data / "truth", "--labels", "voc", "--out", data / "B", "--json",
        "--resamples", 200,
    )  # fmt: skip


def test_a_good_audit_exits_with_0_and_prints_definitions(good):
    assert good.returncode == 0, good.stderr
    assert "pairs 40 = compared 40 + failed 0" in good.stdout
    assert "mIoU " in good.stdout and "counts summed over the dataset" in good.stdout
    assert "[" in good.stdout and "Boundary IoU" in good.stdout


def test_what_is_written(good, data):
    out = data / "A"
    assert sorted(path.name for path in out.iterdir()) == [
        "audit.json", "audit.md", "manifest", "pairs", "regions.parquet", "report.html", "run.json",
        "work",
    ]  # fmt: skip
    blocks = sorted((out / "pairs").iterdir())
    assert len(blocks) == 6
    tables = [pq.ParquetFile(path).read() for path in blocks]
    assert all(table.schema.equals(AUDIT) for table in tables)
    ids = [number for table in tables for number in table["pair_id"].to_pylist()]
    assert ids == list(range(1, 41))
    assert pq.ParquetFile(out / "regions.parquet").read().schema.equals(REGIONS)
    page = (out / "report.html").read_text()
    assert "data:image/jpeg" in page and "Audit of 40 pairs" in page
    assert (out / "audit.md").read_text().startswith("# Audit")


def test_the_numbers_are_those_of_the_rows(good, data):
    document = json.loads((data / "A" / "audit.json").read_text())
    matrix = np.zeros((22, 22), np.int64)
    for number in range(40):
        truth, prediction = (
            np.asarray(Image.open(data / side / f"{number:02}.png")) for side in ("truth", "good")
        )
        np.add.at(matrix, (np.where(truth == 255, 21, truth), prediction), 1)
    assert document["confusion_matrix"] == matrix.tolist()
    hits = np.diagonal(matrix)[:21]
    union = matrix[:21].sum(1) + matrix[:21, :21].sum(0) - hits
    expected = (hits[union > 0] / union[union > 0]).mean()
    assert document["metrics"]["miou"]["value"] == pytest.approx(expected, abs=1e-12)


def test_failed_pairs_exit_with_3_and_are_rows(worse, data):
    assert worse.returncode == 3, worse.stderr
    printed = json.loads(worse.stdout)
    assert printed["ledger"] == {
        "pairs": 40, "ok": 37, "failed": 3,
        "failures": {"empty_file": 1, "missing_prediction": 1, "orientation_mismatch": 1},
    }  # fmt: skip
    assert {fault["name"] for fault in printed["faults"]} >= {"missing_prediction", "orientation"}
    assert printed["metrics"]["miou"]["low"] < printed["metrics"]["miou"]["high"]
    assert set(printed["iou"]) >= {"cat", "person"} and printed["iou"]["sheep"] is None
    assert len(worse.stdout.splitlines()) == 1


def test_compare(good, worse, data):
    moved = maskmill("audit", "compare", data / "B/audit.json", data / "A/audit.json", "--json")
    assert moved.returncode == 0, moved.stderr
    document = json.loads(moved.stdout)
    assert document["pictures"] == {"common": 37, "before": 37, "after": 40}
    assert document["metrics"]["miou"]["significant"]
    assert document["metrics"]["miou"]["change"] > 0.05
    assert document["truths"] == {"by_class_map": 37, "by_class_pixels": 0, "note": None}
    text = maskmill("audit", "compare", data / "A", data / "A").stdout
    assert "40 with the same truth, by its hash" in text
    assert "37 pictures" not in text and "+0.0000" in text and "*" not in text.splitlines()[1]


def test_an_audit_whose_masks_are_known_by_other_hashes_is_compared_by_what_it_counted(
    good, worse, data, tmp_path
):
    """An earlier version took the hash of the pixels, this one takes that of the runs."""
    shutil.copytree(data / "A", tmp_path / "A")
    for path in (tmp_path / "A/pairs").iterdir():
        table = pq.read_table(path)
        for name in ("truth_sha256", "prediction_sha256"):
            other = pa.array(["00" * 32 if one else None for one in table[name].to_pylist()])
            table = table.set_column(table.schema.get_field_index(name), name, other)
        pq.write_table(table, path)
    arguments = ["audit", "compare", tmp_path / "A", data / "B", "--json"]
    assert "the truths differ" in refused(*arguments).stderr
    record = json.loads((tmp_path / "A/run.json").read_text())
    record["identity"]["audit_version"] = 2
    (tmp_path / "A/run.json").write_text(json.dumps(record))
    moved = json.loads(refused(*arguments, "--out", tmp_path / "out").stdout)
    assert moved["pictures"]["common"] == 37 and moved["better"] + moved["worse"]
    note = moved["truths"].pop("note")
    assert moved["truths"] == {"by_class_map": 0, "by_class_pixels": 37}
    assert f"{tmp_path / 'A'} is of an earlier version" in note and "audit it again" in note
    assert note in refused(*arguments[:-1]).stdout
    assert json.loads((tmp_path / "out/compare.json").read_text())["truths"]["note"] == note
    assert note in (tmp_path / "out/compare.html").read_text()
    assert (tmp_path / "out/compare.html").read_text().count("data:image/png") >= 4


def test_audits_that_only_counted_say_what_is_not_known_of_their_truths(good, data, tmp_path):
    ended = refused(
        "audit", data / "good", data / "truth", "--labels", "voc", "--counts-only", "--limit", 5,
        "--resamples", 20, "--out", tmp_path, "--engine", "local",
    )  # fmt: skip
    assert ended.exit_code == 0, ended.output
    printed = refused("audit", "compare", data / "A", tmp_path).stdout
    assert "of 5 pictures the truths have as many pixels of each class" in printed
    assert "--counts-only keeps no hash" in printed and "by its hash" not in printed


def test_a_missed_threshold_exits_with_4_and_an_audit_can_be_overwritten(good, data, tmp_path):
    out = tmp_path / "A"
    shutil.copytree(data / "A", out)
    ended = maskmill(
        "audit", data / "good", data / "truth", "--labels", "voc", "--fail-under", "0.999",
        "--counts-only", "--limit", 5, "--resamples", 20, "--out", out, "--overwrite",
    )  # fmt: skip
    assert ended.returncode == 4, ended.stderr
    assert "below --fail-under: miou is 0.9" in ended.stdout
    assert "pairs 5 = compared 5" in ended.stdout and "Boundary" not in ended.stdout
    assert len(list((out / "pairs").iterdir())) == 1
    assert json.loads((out / "audit.json").read_text())["ledger"]["ok"] == 5


@pytest.mark.parametrize("arguments, words", [
    ([], "give --labels"),                                              # nothing says the classes
    (["--labels", "voc", "--fail-under", "mioo=1"], "no metric 'mioo'"),
    (["--labels", "voc", "--fail-under", "iou/unicorn=1"], "no class 'unicorn'"),
    (["--labels", "no such map"], "no such map"),
    (["--labels", "voc", "--truth-format", "gif89a"], "no format 'gif89a'"),
])  # fmt: skip
def test_usage_errors_exit_with_2_before_anything_runs(data, arguments, words):
    ended = refused("audit", data / "good", data / "truth", *arguments)
    assert (ended.exit_code, words in ended.stderr) == (2, True), ended.stderr


@pytest.mark.parametrize("name, content", [
    ("run.json", json.dumps({"command": "prelabel", "identity": {}})), ("pairs", None),
])  # fmt: skip
def test_an_out_that_is_no_audit_is_left_alone(data, tmp_path, name, content):
    if content is None:
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).write_text(content)
    ended = refused("audit", data / "good", data / "truth", "--labels", "voc", "--out", tmp_path)
    assert ended.exit_code == 2 and "choose another output folder" in ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_the_same_command_again_reuses_every_row(good, data):
    before = (data / "A/audit.json").read_text()
    again = maskmill(
        "audit", data / "good", data / "truth", "--labels", "voc", "--images", data / "photos",
        "--out", data / "A", "--block-pairs", 7, "--resamples", 200, "--json",
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["done_now"] == 0
    assert (data / "A/audit.json").read_text() == before


def test_another_audit_in_the_same_out_is_refused(good, data):
    before = (data / "A/audit.json").read_text()
    ended = refused(
        "audit", data / "good", data / "truth", "--labels", "voc", "--out", data / "A",
        "--images", data / "photos", "--block-pairs", 7, "--ignore", 8,
    )  # fmt: skip
    assert ended.exit_code == 2 and "ignore: [] there, [8] asked for" in ended.stderr
    assert (data / "A/audit.json").read_text() == before


@pytest.mark.parametrize("names, words", [
    ([], "no mask at all"), (["elsewhere/other.png", "third.png"], "2 masks, elsewhere/other.png"),
])  # fmt: skip
def test_sides_without_a_name_in_common_are_told_apart(data, tmp_path, names, words):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(scene(0)).save(tmp_path / name)
    ended = refused("audit", tmp_path, data / "truth", "--labels", "voc")
    assert ended.exit_code == 2 and "nothing to compare" in ended.stderr
    assert words in ended.stderr and "40 masks, 00.png, 01.png, 02.png, …" in ended.stderr


def test_help_is_quick_and_complete():
    ended = maskmill("audit", "--help")
    assert ended.returncode == 0
    for word in (
        "--fail-under",
        "--map",
        "--ignore",
        "--resize",
        "--json",
        "compare",
        "Exit codes",
    ):
        assert word in ended.stdout


@pytest.mark.parametrize("labels, kind, fits", [
    ("cityscapes", "labelTrainIds", True), ("cityscapes", "labelIds", False),
    ("cityscapes_labelids", "labelIds", True), ("cityscapes_labelids", "labelTrainIds", False),
])  # fmt: skip
def test_cityscapes_numberings_are_not_mixed_up(tmp_path, labels, kind, fits):
    mask = np.zeros((8, 8), np.uint8)
    save(tmp_path / "p", {"ulm_000000_000019": mask})
    save(tmp_path / "t", {f"ulm_000000_000019_gtFine_{kind}": mask})
    sides = {"predictions": str(tmp_path / "p"), "truth": str(tmp_path / "t")}
    job = AuditJob(options=AuditOptions(**sides, labels=labels), out=str(tmp_path / "out"))
    if fits:
        (table,) = job.plan(None).manifest.tables(["error_code"])
        assert table.to_pylist() == [{"error_code": None}]
    else:
        with pytest.raises(SettingsError, match=f"holds {kind}"):
            job.plan(None)


def test_classes_that_do_not_meet_leave_a_map_file_to_edit(data, tmp_path):
    (tmp_path / "labels.txt").write_text("background\nanimal\n")
    source = tmp_path / "coco.json"
    source.write_text(json.dumps({
        "images": [{"id": 1, "file_name": "00.jpg", "width": 160, "height": 120}],
        "categories": [{"id": 1, "name": "kitten"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": 100,
                         "bbox": [0, 0, 10, 10], "segmentation": [[0, 0, 10, 0, 10, 10, 0, 10]]}],
    }))  # fmt: skip
    arguments = ["audit", source, data / "truth", "--labels", tmp_path / "labels.txt", "--out",
                 tmp_path / "out"]  # fmt: skip
    ended = refused(*arguments)
    path = tmp_path / "out.class-map.txt"
    assert ended.exit_code == 2 and f"--map {path}" in ended.stderr, ended.stderr
    assert "kitten = ?" in path.read_text()
    path.write_text(path.read_text().replace("?", "animal"))
    assert "is there already" in refused(*arguments).stderr
    assert "animal" in path.read_text()


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 200_000, b"[]"])
def test_a_torn_document_is_told_with_what_to_do(good, data, tmp_path, content):
    shutil.copytree(data / "A", tmp_path / "A")
    (tmp_path / "A/audit.json").write_bytes(content)
    for arguments in (["audit", "compare", tmp_path / "A", data / "A"], ["verify", tmp_path / "A"]):
        ended = refused(*arguments)
        assert ended.exit_code in (1, 2) and "audit" in ended.stderr, ended.stderr
        assert "Traceback" not in ended.stderr
