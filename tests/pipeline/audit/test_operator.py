"""AuditPairs: files in, rows out; what cannot be compared is a failed row with a reason."""

import numpy as np
import pytest
from PIL import Image

from maskmill.pipeline.audit.manifest import audit_layout
from maskmill.pipeline.audit.operator import AuditSettings
from maskmill.pipeline.audit.pair import Measures, resized_nearest
from maskmill.pipeline.audit.sides import AuditSide
from maskmill.pipeline.masks.registry import MASK_FORMATS
from maskmill.schemas.labels import LabelMap, builtin
from tests.pipeline.audit.audited import audit_rows, audited

LABELS = LabelMap.from_names("four", ["ground", "cat", "dog", "car"])
COUNT_ONLY = Measures(boundaries=False, regions=False, truth_checks=False, alignment=False)


def scene(seed=0, shape=(60, 80)):
    rng = np.random.default_rng(seed)
    mask = np.zeros(shape, np.uint8)
    for label in (1, 2, 3):
        y, x = rng.integers(0, shape[0] - 22), rng.integers(0, shape[1] - 22)
        mask[y : y + 20, x : x + 20] = label
    mask[:4] = 255
    return mask


@pytest.fixture
def run(tmp_path):
    def audit(pairs, labels=LABELS, **settings):
        """``pairs``: key -> (prediction, truth), as arrays, bytes or None."""
        rows = []
        for number, (key, sides) in enumerate(sorted(pairs.items()), start=1):
            uris = [None, None]
            for place, content in enumerate(sides):
                if content is None:
                    continue
                path = tmp_path / f"{key}_{place}.png"
                if isinstance(content, bytes):
                    path.write_bytes(content)
                else:
                    Image.fromarray(content).save(path)
                uris[place] = str(path)
            rows.append({
                "pair_id": number, "key": key, "prediction_uri": uris[0], "truth_uri": uris[1],
                "error_code": None if all(uris) else "missing_prediction",
                "error_message": None if all(uris) else "no prediction",
            })  # fmt: skip
        layout = audit_layout(str(tmp_path / f"out{len(list(tmp_path.glob('out*')))}"))
        return audit_rows(layout, rows, AuditSettings(labels=labels, **settings))

    return audit


def test_a_good_pair(run):
    truth = scene()
    prediction = np.where(truth == 255, 0, truth).astype(np.uint8)
    prediction[30:34, :] = 0
    (row,) = run({"a": (prediction, truth)})
    assert row["status"] == "ok" and row["error_code"] is None
    assert (row["width"], row["height"], row["pixels"]) == (80, 60, 4800)
    assert row["ignored_pixels"] == 4 * 80
    assert sum(cell["pixels"] for cell in row["cells"]) == 4800
    valid = truth != 255
    assert row["pixel_accuracy"] == pytest.approx((prediction == truth)[valid].mean())
    ious = [score["iou"] for score in row["classes"]]
    assert row["miou"] == pytest.approx(np.mean(ious))
    assert [score["name"] for score in row["classes"]] == list(LABELS.names)
    assert row["read_ms"] > 0 and row["measure_ms"] > 0


def test_counting_alone_leaves_the_rest_null(run):
    (row,) = run({"a": (scene(1), scene(0))}, measures=COUNT_ONLY)
    assert row["cells"] and row["miou"] is not None
    assert all(row[name] is None for name in (
        "boundary_iou", "trimap", "regions", "findings", "alignment", "levels",
    ))  # fmt: skip


def test_failures_are_rows_and_the_others_go_on(run):
    good = scene()
    rows = run({
        "a": (good, good), "b": (b"", good), "c": (good, b"no picture"), "d": (None, good),
        "e": (scene(0, (30, 40)), good), "f": (scene(0, (80, 60)), good), "z": (good, good),
    })  # fmt: skip
    codes = {row["key"]: row["error_code"] for row in rows}
    assert codes == {
        "a": None, "b": "empty_file", "c": "not_an_image", "d": "missing_prediction",
        "e": "size_mismatch", "f": "orientation_mismatch", "z": None,
    }  # fmt: skip
    messages = {row["key"]: row["error_message"] for row in rows}
    assert "resized by 0.5" in messages["e"] and "40x30" in messages["e"]
    assert messages["b"].startswith("b: ") and "truth" in messages["c"]
    assert all((row["cells"] is None) == (row["status"] == "failed") for row in rows)


def test_a_vanished_file_is_a_row(run, tmp_path):
    pair = {"pair_id": 1, "key": "a", "prediction_uri": str(tmp_path / "gone.png"),
            "truth_uri": str(tmp_path / "gone too.png")}  # fmt: skip
    layout = audit_layout(str(tmp_path / "out"))
    (row,) = audit_rows(layout, [pair], AuditSettings(labels=LABELS))
    assert (row["status"], row["error_code"]) == ("failed", "vanished")


def test_resizing_is_done_only_when_asked_and_said(run):
    small, large = scene(0, (30, 40)), scene(0, (30, 40)).repeat(2, 0).repeat(2, 1)
    (row,) = run({"a": (small, large)}, resize=True)
    assert row["miou"] == 1.0
    assert row["notes"] == ["prediction resized by nearest neighbour from 40x30"]
    (row,) = run({"a": (large.T.copy(), large)}, resize=True)  # swapped sides stay a failure
    assert row["error_code"] == "orientation_mismatch"


def test_nearest_resizing_equals_pillow():
    mask = scene(3, (37, 53))
    for size in ((53, 37), (106, 74), (31, 17), (200, 150)):
        expected = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
        np.testing.assert_array_equal(resized_nearest(mask, size[::-1]), expected)


def test_ignore_values_and_maps(run):
    truth = scene()
    other = np.where(truth == 255, 255, truth + 10).astype(np.uint8)
    (row,) = run({"a": (other, truth)}, prediction=AuditSide(mapping={10: 0, 11: 1, 12: 2, 13: 3}))
    assert row["miou"] == 1.0 and row["strange_values"] == []
    (row,) = run({"a": (truth, truth)}, ignore=(0,))
    assert [score["name"] for score in row["classes"]] == ["cat", "dog", "car"]


def test_strange_values_are_counted_by_side(run):
    truth, prediction = scene(), scene()
    truth[10:12, :] = 77
    prediction[20, :5] = 200
    (row,) = run({"a": (prediction, truth)})
    assert row["strange_values"] == [
        {"side": "truth", "value": 77, "pixels": 160},
        {"side": "prediction", "value": 200, "pixels": 5},
    ]


@pytest.mark.parametrize("name", [
    name for name, kind in MASK_FORMATS.items() if not name.startswith("binary")
])  # fmt: skip
def test_every_mask_format_is_read(run, name):
    truth = scene()
    data = MASK_FORMATS[name].encode(truth, LABELS)
    (row,) = run({"a": (data, truth)})
    assert row["miou"] == 1.0, row
    assert row["prediction_kind"]


def test_binary_masks_of_two_classes(run):
    labels = LabelMap.from_names("two", ["ground", "cat"])
    truth = (scene() == 1).astype(np.uint8)
    (row,) = run({"a": ((truth * 255).astype(np.uint8), truth)}, labels)
    assert row["miou"] == 1.0 and row["ignored_pixels"] == 0


def test_sixteen_bits_and_three_hundred_classes(run):
    labels = LabelMap.from_names("many", [f"c{index}" for index in range(300)])
    truth = np.arange(300, dtype=np.uint16).repeat(16).reshape(60, 80)
    truth[:2] = 65535
    (row,) = run({"a": (truth, truth)}, labels)
    assert row["miou"] == 1.0 and row["ignored_pixels"] == 160
    assert len(row["classes"]) == 290


def test_real_masks(shared, run):
    paths = sorted((shared / "data" / "voc_masks_500").glob("*.png"))[:5]
    rows = run(
        {path.stem: (path.read_bytes(), path.read_bytes()) for path in paths}, builtin("voc")
    )
    for row in rows:
        assert row["miou"] == 1.0 and row["boundary_iou"] == 1.0 and row["regions"] == []


def test_a_row_without_files_or_a_reason_is_a_bug_and_loud():
    with pytest.raises(Exception, match="NoneType"):
        audited([{"pair_id": 1, "key": "1"}], AuditSettings(labels=LABELS))


@pytest.mark.parametrize("ignore", [255, 65535])
def test_both_ignore_values_of_sixteen_bit_files(run, ignore):
    truth = scene().astype(np.uint16)
    truth[truth == 255] = ignore
    (row,) = run({"a": (scene(), truth)})
    assert row["ignored_pixels"] == 320 and row["strange_values"] == []
    assert row["miou"] == 1.0


def test_what_the_numbers_do_not_need_is_noted_when_it_is_gone(tmp_path):
    for name in ("p.png", "t.png"):
        Image.fromarray(scene()).save(tmp_path / name)
    pair = {
        "pair_id": 1, "key": "a", "prediction_uri": str(tmp_path / "p.png"),
        "truth_uri": str(tmp_path / "t.png"), "image_uri": str(tmp_path / "gone.jpg"),
        "confidence_uri": str(tmp_path / "gone.npz"),
    }  # fmt: skip
    (row,) = audited([pair], AuditSettings(labels=LABELS, hash_images=True))
    assert row["status"] == "ok" and row["miou"] == 1.0 and row["image_sha256"] is None
    assert row["notes"] == ["picture not read: vanished", "confidences not used: vanished"]


def test_a_real_models_predictions_equal_scikit_learn(shared, run):
    from sklearn.metrics import jaccard_score

    folder = shared / "data" / "vainf_voc"
    names = sorted(path.name.removesuffix("_target_ids.png") for path in folder.glob("*_target_*"))
    rows = run(
        {
            name: ((folder / f"{name}_pred_ids.png").read_bytes(),
                   (folder / f"{name}_target_ids.png").read_bytes())
            for name in names
        },
        builtin("voc"),
    )  # fmt: skip
    assert len(rows) == 3
    for row in rows:
        truth, prediction = (
            np.asarray(Image.open(folder / f"{row['key']}_{side}_ids.png")).ravel()
            for side in ("target", "pred")
        )
        kept = truth != 255
        for score in row["classes"]:
            expected = jaccard_score(
                truth[kept], prediction[kept], labels=[score["index"]], average=None
            )[0]
            assert score["iou"] == pytest.approx(expected, abs=1e-9)
