"""`maskmill prelabel` as people use it: rows, masks, COCO, ledger, exit codes, second runs."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pycocotools.coco import COCO

from maskmill.schemas.tables.prelabel import METADATA
from tests.sick_images import write_sick_images, write_small_pictures

QUICK = ("--image-size", 129)  # a smaller network input: these tests are about the run


@pytest.fixture(scope="module")
def finished(tmp_path_factory, default_weights, run_module_maskmill):
    """A run over 40 sound and 12 sick files, finished, with overlays; never changed by a test."""
    source = tmp_path_factory.mktemp("photos")
    write_small_pictures(source, 40, seed=1)
    (source / "notes.txt").write_text("not a picture")
    codes = write_sick_images(source, 12, seed=2)
    out = tmp_path_factory.mktemp("run") / "out"
    result = run_module_maskmill(
        "prelabel",
        source,
        out,
        "--write",
        "masks,overlays,soft",
        "--block-images",
        8,
        "--json",
        *QUICK,
    )
    return source, out, codes, result


def rows_of(out: Path) -> list[dict]:
    return pq.read_table(out / "metadata", schema=METADATA).sort_by("image_id").to_pylist()


def test_a_finished_run_with_failed_rows_exits_3_and_its_ledger_adds_up(finished):
    _, out, codes, result = finished
    assert result.returncode == 3, result.stderr
    document = json.loads(result.stdout)
    assert document["ledger"]["inputs"] == 52
    assert document["ledger"]["ok"] == 40
    assert document["ledger"]["failed"] == len(codes) == 12
    assert document["ledger"]["pending"] == 0
    assert json.loads((out / "run.json").read_text())["ledger"] == document["ledger"]


def test_every_sick_file_is_a_failed_row_with_its_code(finished):
    _, out, codes, _ = finished
    failed = {row["key"]: row for row in rows_of(out) if row["status"] == "failed"}
    assert {key: row["error_code"] for key, row in failed.items()} == {
        key: code.value for key, code in codes.items()
    }
    assert all(row["error_message"] and row["mask_path"] is None for row in failed.values())


def test_rows_follow_the_schema_and_the_sorted_keys(finished):
    _, out, _, _ = finished
    for path in (out / "metadata").iterdir():
        assert pq.read_schema(path).equals(METADATA)
    keys = [row["key"] for row in rows_of(out)]
    assert keys == sorted(keys)
    assert [row["image_id"] for row in rows_of(out)] == list(range(1, 53))


def test_masks_have_the_size_of_the_picture_and_the_palette_of_the_labels(finished):
    source, out, _, _ = finished
    for row in rows_of(out):
        if row["status"] == "ok":
            with (
                Image.open(source / row["key"]) as picture,
                Image.open(out / row["mask_path"]) as mask,
            ):
                assert mask.mode == "P"
                assert mask.size == picture.size == (row["width"], row["height"])
                assert mask.getpalette()[3:6] == [128, 0, 0]
            assert (
                (out / "overlays" / row["mask_path"].removeprefix("masks/"))
                .with_suffix(".jpg")
                .exists()
            )


def test_coco_document_equals_the_masks_by_pycocotools_own_reckoning(finished, capsys):
    _, out, _, _ = finished
    coco = COCO(out / "annotations.json")
    rows = {row["image_id"]: row for row in rows_of(out)}
    assert set(coco.imgs) == {number for number, row in rows.items() if row["status"] == "ok"}
    for annotation in coco.anns.values():
        mask = np.asarray(Image.open(out / rows[annotation["image_id"]]["mask_path"]))
        inside = coco.annToMask(annotation)
        assert np.array_equal(inside == 1, mask == annotation["category_id"])
        assert annotation["area"] == inside.sum()
        assert annotation["iscrowd"] == 0
    assert [annotation["id"] for annotation in coco.dataset["annotations"]] == list(
        range(1, len(coco.anns) + 1)
    )


def test_verify_proves_the_run(finished, maskmill):
    _, out, _, _ = finished
    result = maskmill("verify", out, "--inputs")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "52 images verified" in result.stdout


def test_rank_writes_every_labelled_image_once_most_uncertain_first(finished, maskmill):
    _, out, _, _ = finished
    result = maskmill("rank", out, "--rarity", 0, "--json")
    assert result.returncode == 0, result.stderr
    order = pq.read_table(out / "review/order.parquet")
    entropies = {
        row["image_id"]: row["mean_entropy"] for row in rows_of(out) if row["status"] == "ok"
    }
    assert order["image_id"].to_pylist() == sorted(entropies, key=lambda n: (-entropies[n], n))
    assert order["rank"].to_pylist() == list(range(1, 41))


def test_second_run_computes_nothing_and_says_so(finished, maskmill):
    source, out, _, _ = finished
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if "work" not in path.parts}
    result = maskmill(
        "prelabel",
        source,
        out,
        "--write",
        "masks,overlays,soft",
        "--block-images",
        8,
        "--allow-failures",
        *QUICK,
    )
    assert result.returncode == 0, result.stderr
    assert "nothing to do, all 52 images have a row" in result.stdout
    after = {path: path.stat().st_mtime_ns for path in out.rglob("*") if "work" not in path.parts}
    assert after == {**before, **{path: after[path] for path in after if "review" in path.parts}}


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (("--model", "deeplabv3_mobilenet_v3_large", "--untrained"), "model"),
        (("--min-area", 5), "min_area"),
        (("--segments", "component"), "segments"),
    ],
)
def test_another_run_in_the_same_folder_is_refused_naming_what_differs(
    finished, maskmill, changed, named
):
    source, out, _, _ = finished
    result = maskmill(
        "prelabel",
        source,
        out,
        "--write",
        "masks,overlays,soft",
        "--block-images",
        8,
        *QUICK,
        *changed,
    )
    assert result.returncode == 2, result.stdout
    assert "holds a different run" in result.stderr
    assert f"  {named}: " in result.stderr


def test_dry_run_counts_and_writes_nothing(tmp_path, maskmill):
    write_small_pictures(tmp_path / "in", 9, seed=5)
    (tmp_path / "in/photo_00000.png").write_bytes((tmp_path / "in/photo_00000.jpg").read_bytes())
    (tmp_path / "in/readme.md").write_text("x")
    result = maskmill("prelabel", tmp_path / "in", tmp_path / "out", "--dry-run", "--json")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["images"] == report["to_do"] == 10
    assert report["not_considered"] == {".md": 1}
    assert report["renamed"] == ["photo_00000.jpg", "photo_00000.png"]
    assert not (tmp_path / "out").exists()


@pytest.mark.thorough
def test_extend_adds_new_images_with_ids_after_the_largest(tmp_path, maskmill):
    source, out = tmp_path / "in", tmp_path / "out"
    write_small_pictures(source, 6, seed=3)
    assert maskmill("prelabel", source, out, *QUICK).returncode == 0
    first = rows_of(out)
    Image.new("RGB", (40, 30), "red").save(source / "a_new_one.png")
    refused = maskmill("prelabel", source, out, *QUICK)
    assert refused.returncode == 2
    assert "--extend" in refused.stderr
    assert "a_new_one.png" in refused.stderr
    extended = maskmill("prelabel", source, out, "--extend", *QUICK)
    assert extended.returncode == 0, extended.stderr
    rows = rows_of(out)
    assert rows[:6] == first
    assert (rows[6]["key"], rows[6]["image_id"]) == ("a_new_one.png", 7)
    assert maskmill("verify", out).returncode == 0


def test_retry_failed_does_failed_rows_again_and_only_them(tmp_path, maskmill):
    source, out = tmp_path / "in", tmp_path / "out"
    keys = write_small_pictures(source, 5, seed=4)
    good = (source / keys[2]).read_bytes()
    (source / keys[2]).write_bytes(b"\0" * len(good))
    assert maskmill("prelabel", source, out, *QUICK).returncode == 3
    before = {row["key"]: row for row in rows_of(out)}
    assert before[keys[2]]["status"] == "failed"
    (source / keys[2]).write_bytes(good)
    result = maskmill("prelabel", source, out, "--retry-failed", *QUICK)
    assert result.returncode == 0, result.stderr
    after = {row["key"]: row for row in rows_of(out)}
    assert after[keys[2]]["status"] == "ok"
    assert {key: row for key, row in after.items() if key != keys[2]} == {
        key: row for key, row in before.items() if key != keys[2]
    }
    assert maskmill("verify", out, "--inputs").returncode == 0


def test_component_segments_min_area_and_min_confidence(tmp_path, maskmill, shared):
    out = tmp_path / "out"
    picture = shared / "data/voc/2011_000006.jpg"
    result = maskmill(
        "prelabel",
        picture,
        out,
        "--segments",
        "component",
        "--min-area",
        400,
        "--min-confidence",
        0.6,
    )
    assert result.returncode == 0, result.stderr
    row = rows_of(out)[0]
    assert row["segments"]
    assert all(segment["area"] >= 400 for segment in row["segments"])
    assert 0 < row["ignored_fraction"] < 0.5
    mask = np.asarray(Image.open(out / row["mask_path"]))
    assert np.isclose((mask == 255).mean(), row["ignored_fraction"])
    assert maskmill("verify", out).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("no/such/folder", "out"), "does not exist"),
        ((".", "out", "--model", "unet"), "no model 'unet'"),
        ((".", "out", "--weights", "nothing.pth"), "nothing.pth"),
        ((".", "out", "--write", "masks,paintings"), "paintings"),
        ((".", "out", "--precision", "fp16"), "fp16"),
        ((".", "out", "--workers", "900"), "900 workers"),
        ((".", "out", "--labels", "cityscapes"), "21 classes"),
    ],
)
def test_wrong_usage_is_said_plainly_before_anything_is_written(
    tmp_path, maskmill, arguments, message
):
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    given = [
        str(tmp_path) if a == "." else str(tmp_path / a) if a == "out" else a for a in arguments
    ]
    result = maskmill("prelabel", *given)
    assert result.returncode in (1, 2), result.stdout
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out/run.json").exists()


def test_an_empty_folder_is_said_and_is_no_success(tmp_path, maskmill):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.pdf").write_text("x")
    result = maskmill("prelabel", tmp_path / "in", tmp_path / "out")
    assert result.returncode == 2
    assert "no image found" in result.stderr
    assert ".pdf 1" in result.stderr


def test_metadata_types_survive(finished):
    _, out, _, _ = finished
    row = next(row for row in rows_of(out) if row["status"] == "ok")
    assert isinstance(row["classes"], list)
    assert np.isclose(
        sum(entry["fraction"] for entry in row["classes"]) + row["ignored_fraction"], 1
    )
    assert pa.types.is_struct(METADATA.field("classes").type.value_type)
