"""Planted faults: each is found and named, and nothing else is accused."""

import json

import numpy as np
import pytest
from PIL import Image, ImageOps

from maskmill.pipeline.audit.document import audit_document
from maskmill.pipeline.audit.mask_files import MaskFile
from maskmill.pipeline.audit.operator import AuditSettings
from maskmill.pipeline.audit.pair import Measures
from maskmill.pipeline.audit.pairing import pair_masks
from maskmill.pipeline.audit.tally import AuditTally
from maskmill.schemas.labels import builtin
from tests.pipeline.audit.audited import audited

LABELS = builtin("voc")
COLORS = LABELS.color_table()


def scene(seed, shape=(120, 150)):
    """A VOC-like mask: some rectangles of some classes with a void border of three pixels."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(shape, np.uint8)
    for label in rng.choice(np.arange(1, 21), 3, replace=False):
        y, x = rng.integers(4, shape[0] - 60), rng.integers(4, shape[1] - 60)
        height, width = rng.integers(24, 50, 2)
        mask[y - 3 : y + height + 3, x - 3 : x + width + 3] = 255
        mask[y : y + height, x : x + width] = label
    return mask


def predicted(mask, seed=0):
    """A decent prediction: void filled, a few pixels wrong at the borders."""
    rng = np.random.default_rng(seed)
    filled = np.where(mask == 255, 0, mask).astype(np.uint8)
    return np.where(rng.random(mask.shape) < 0.01, 0, filled).astype(np.uint8)


@pytest.fixture
def audit(tmp_path):
    def run(truths, predictions, **settings):
        """Both: name -> array or Pillow image. Returns the document."""
        sides = []
        for side, masks in (("p", predictions), ("t", truths)):
            (tmp_path / side).mkdir()
            for name, mask in masks.items():
                picture = mask if isinstance(mask, Image.Image) else Image.fromarray(mask)
                picture.save(tmp_path / side / name)
            sides.append([MaskFile(name, str(tmp_path / side / name)) for name in masks])
        pairing = pair_masks(*sides)
        rows = [
            {"pair_id": number, "key": pair.key,
             "prediction_uri": pair.prediction and pair.prediction.uri,
             "truth_uri": pair.truth and pair.truth.uri,
             "error_code": pair.problem and pair.problem.value, "error_message": pair.message}
            for number, pair in enumerate(pairing.pairs, start=1)
        ]  # fmt: skip
        settings = AuditSettings(labels=LABELS, **settings)
        rows = audited(rows, settings)
        tally = AuditTally(LABELS, sum(row["status"] == "ok" for row in rows), resamples=100)
        tally.add(rows)
        tally.look_closer(settings)
        document = audit_document(tally, {"seed": 0}, {"rules": dict(pairing.rules)})
        json.dumps(document, allow_nan=False)
        return document

    return run


def names_of(document):
    return {fault["name"] for fault in document["faults"]}


def message_of(document, name):
    return next(fault["message"] for fault in document["faults"] if fault["name"] == name)


TRUTHS = {f"{seed:02}.png": scene(seed) for seed in range(24)}
PREDICTIONS = {name: predicted(mask) for name, mask in TRUTHS.items()}


def test_a_clean_dataset_is_accused_of_nothing(audit):
    document = audit(TRUTHS, PREDICTIONS)
    assert names_of(document) == set()
    assert document["metrics"]["miou"]["value"] > 0.9
    assert document["ledger"] == {"pairs": 24, "ok": 24, "failed": 0, "failures": {}}


def test_swapped_classes(audit):
    table = np.arange(256, dtype=np.uint8)
    table[[8, 12]] = 12, 8
    document = audit(TRUTHS, {name: table[mask] for name, mask in PREDICTIONS.items()})
    assert names_of(document) == {"swapped_classes"}
    assert "'cat' and 'dog'" in message_of(document, "swapped_classes")
    assert {document["confusions"][0]["truth"], document["confusions"][0]["prediction"]} == {
        "cat", "dog",
    }  # fmt: skip


def test_permuted_classes(audit):
    table = np.arange(256, dtype=np.uint8)
    table[[3, 8, 12]] = 8, 12, 3
    document = audit(TRUTHS, {name: table[mask] for name, mask in PREDICTIONS.items()})
    assert names_of(document) == {"permuted_classes"}
    assert "bird -> cat -> dog -> bird" in message_of(document, "permuted_classes")


@pytest.mark.parametrize("step, words", [(1, "one more"), (-1, "one less")])
def test_off_by_one(audit, step, words):
    document = audit(TRUTHS, {
        name: (mask.astype(int) + step).astype(np.uint8) for name, mask in PREDICTIONS.items()
    })  # fmt: skip
    assert "off_by_one" in names_of(document)
    assert "swapped_classes" not in names_of(document)
    assert words in message_of(document, "off_by_one")


def test_rgb_masks_read_as_grey(audit):
    grey = {}
    for name, mask in PREDICTIONS.items():
        grey[name] = Image.fromarray(COLORS[mask]).convert("L")
    document = audit(TRUTHS, grey)
    assert "colors_read_as_grey" in names_of(document)
    assert "values of the prediction" in message_of(document, "colors_read_as_grey")
    assert document["strange_values"][0]["files"] >= 1
    assert "of all pixels" in message_of(document, "value_out_of_range")


def test_resized_masks(audit):
    halved = {
        name: Image.fromarray(mask).resize((75, 60), Image.Resampling.NEAREST)
        for name, mask in PREDICTIONS.items()
    }
    document = audit(TRUTHS, halved)
    assert "24 pairs differ in size" in message_of(document, "resized_masks")
    assert "resized by 0.5" in message_of(document, "resized_masks")
    assert document["ledger"]["failures"] == {"size_mismatch": 24}
    assert document["metrics"]["miou"]["value"] is None


@pytest.mark.parametrize("x, y", [(5, 0), (-3, 7), (0, -12)])
def test_shifted_masks(audit, x, y):
    shifted = {name: np.roll(mask, (y, x), (0, 1)) for name, mask in PREDICTIONS.items()}
    document = audit(TRUTHS, shifted)
    assert names_of(document) == {"shifted_masks"}
    assert f"moved by ({-x}, {-y}) pixels" in message_of(document, "shifted_masks")


def test_missing_files(audit):
    truths = dict(list(TRUTHS.items())[:20])
    predictions = dict(list(PREDICTIONS.items())[3:])
    document = audit(truths, predictions)
    assert names_of(document) == {"missing_prediction", "missing_truth"}
    assert message_of(document, "missing_prediction").startswith("3 truth masks")
    assert message_of(document, "missing_truth").startswith("4 predictions")
    assert document["ledger"]["ok"] + document["ledger"]["failed"] == document["ledger"]["pairs"]
    assert {row["key"] for row in document["failed_pairs"]} == {
        "00", "01", "02", "20", "21", "22", "23",
    }  # fmt: skip


@pytest.mark.parametrize("orientation", range(2, 9))
def test_exif_rotated_truth(audit, orientation):
    """The truth was drawn on pictures shown without their EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation

    def stored(mask):  # the scene as the camera stored it: turning it by EXIF gives the mask
        inverse = {6: 8, 8: 6}.get(orientation, orientation)
        picture = Image.fromarray(mask)
        picture.getexif()[0x0112] = inverse
        return ImageOps.exif_transpose(picture)

    truths = {name: stored(mask) for name, mask in TRUTHS.items()}
    document = audit(truths, PREDICTIONS)
    if orientation < 5:  # the size stays
        assert "turned_masks" in names_of(document)
        assert "EXIF orientation" in message_of(document, "turned_masks")
    else:
        assert document["ledger"]["failures"] == {"orientation_mismatch": 24}
        assert "24 pairs" in message_of(document, "orientation")
        assert "they fit best if" in document["failed_pairs"][0]["error_message"]


def test_strange_values_say_how_much_of_how_many_files(audit):
    truths = {name: mask.copy() for name, mask in TRUTHS.items()}
    for name in list(truths)[:12]:
        truths[name][:93] = 200  # 77.5 % of half the files
    document = audit(truths, PREDICTIONS)
    message = message_of(document, "value_out_of_range")
    assert "value 200 of the truth covers 38.75% of all pixels, in 12 files" in message
    assert "not in the label map" in message


def test_ignored_predictions_are_said(audit):
    predictions = {name: mask.copy() for name, mask in PREDICTIONS.items()}
    for mask in predictions.values():
        mask[60:] = 255
    assert "ignored_predictions" in names_of(audit(TRUTHS, predictions))


def test_binary_masks_taken_for_ignore(audit):
    binary = {
        name: np.where(mask > 0, 255, 0).astype(np.uint8) for name, mask in PREDICTIONS.items()
    }
    assert "binary_read_as_ignore" in names_of(audit(TRUTHS, binary))


def test_planted_label_errors_come_first(audit):
    truths = {name: mask.copy() for name, mask in TRUTHS.items()}
    predictions = dict(PREDICTIONS)
    object_of = int(np.bincount(predictions["05.png"].ravel(), minlength=21)[1:].argmax()) + 1
    truths["05.png"][truths["05.png"] == object_of] = 0  # the annotator missed an object
    first = audit(truths, predictions)["suspected_label_errors"][0]
    assert first["key"] == "05" and first["truth_class"] == "background"
    assert first["predicted_class"] == LABELS.names[object_of]


def test_never_seen_classes(audit):
    few = {name: np.where(mask == 8, 0, mask) for name, mask in TRUTHS.items()}
    document = audit(few, {name: predicted(mask) for name, mask in few.items()})
    assert names_of(document) == {"never_seen_classes"}
    assert "1 class never occurs in the truth: cat" in message_of(document, "never_seen_classes")


def test_an_empty_folder(audit):
    document = audit({}, {})
    assert document["ledger"]["pairs"] == 0
    assert all(metric["value"] is None for metric in document["metrics"].values())


def planted(predictions, keys):
    """One prediction mirrored, one upside down, one moved; the others as they were."""
    mirrored, turned, moved = keys
    return {
        **predictions,
        mirrored: predictions[mirrored][:, ::-1],
        turned: predictions[turned][::-1, ::-1],
        moved: np.roll(predictions[moved], (9, -14), (0, 1)),
    }


def test_single_mishaps_are_named(audit):
    document = audit(TRUTHS, planted(PREDICTIONS, ("03.png", "08.png", "17.png")))
    turned = [fault["message"] for fault in document["faults"] if fault["name"] == "turned_masks"]
    assert any("mirrored left to right" in one and "(03)" in one for one in turned)
    assert any("turned by 180 degrees" in one and "(08)" in one for one in turned)
    assert len(turned) == 2
    assert "1 pair agrees" in message_of(document, "shifted_masks")
    assert "17 by (14, -9)" in message_of(document, "shifted_masks")


def test_counting_only_tries_nothing(audit):
    nothing = Measures(boundaries=False, regions=False, truth_checks=False, alignment=False)
    document = audit(TRUTHS, planted(PREDICTIONS, ("03.png", "08.png", "17.png")), measures=nothing)
    assert names_of(document) == set()


def test_mishaps_among_real_masks_are_named_and_nothing_else(audit, shared):
    paths = sorted((shared / "data/voc_masks_500").glob("*.png"))[:150]
    truths = {path.name: np.array(Image.open(path)) for path in paths}
    predictions = {name: predicted(mask, seed) for seed, (name, mask) in enumerate(truths.items())}
    keys = [paths[place].name for place in (20, 77, 130)]
    document = audit(truths, planted(predictions, keys))
    told = {
        fault["name"]: [
            one["message"] for one in document["faults"] if one["name"] == fault["name"]
        ]
        for fault in document["faults"]
    }
    assert set(told) - {"never_seen_classes"} == {"turned_masks", "shifted_masks"}
    assert len(told["turned_masks"]) == 2
    for key, message in zip(
        keys, (*sorted(told["turned_masks"], key=lambda one: "180" in one), *told["shifted_masks"]),
        strict=True,
    ):  # fmt: skip
        assert key.removesuffix(".png") in message


def keys_of(document, name):
    return [fault["keys"] for fault in document["faults"] if fault["name"] == name]


def test_files_under_each_others_names(audit):
    exchanged = {**PREDICTIONS, "04.png": PREDICTIONS["11.png"], "11.png": PREDICTIONS["04.png"]}
    document = audit(TRUTHS, exchanged)
    assert names_of(document) == {"exchanged_files"}
    assert keys_of(document, "exchanged_files") == [["04", "11"]]
    assert "04 and 11" in message_of(document, "exchanged_files")


@pytest.mark.parametrize("shape, code", [((150, 120), "orientation_mismatch"),
                                         ((100, 90), "size_mismatch")])  # fmt: skip
def test_exchanged_sizes_are_explained_by_the_exchange(audit, shape, code):
    truths = {**TRUTHS, "04.png": scene(4, shape)}
    predictions = {**PREDICTIONS, "04.png": PREDICTIONS["11.png"],
                   "11.png": predicted(truths["04.png"])}  # fmt: skip
    document = audit(truths, predictions)
    assert document["ledger"]["failures"] == {code: 2}
    assert names_of(document) == {"exchanged_files"}


def test_copies_are_named(audit):
    document = audit(
        {**TRUTHS, "again.png": TRUTHS["09.png"]},
        {**PREDICTIONS, "02.png": PREDICTIONS["20.png"], "again.png": PREDICTIONS["09.png"]},
    )
    assert names_of(document) == {"repeated_masks"}
    assert keys_of(document, "repeated_masks") == [["09", "again"], ["02", "20"]]


def test_masks_of_one_class_are_no_copies(audit):
    empty = {name: np.zeros_like(mask) for name, mask in list(TRUTHS.items())[:5]}
    assert "repeated_masks" not in names_of(audit(empty, empty))


def test_classes_swapped_in_one_image(audit):
    one, other = [label for label in np.unique(PREDICTIONS["07.png"]) if label][:2]
    table = np.arange(256, dtype=np.uint8)
    table[[one, other]] = other, one
    document = audit(TRUTHS, {**PREDICTIONS, "07.png": table[PREDICTIONS["07.png"]]})
    assert names_of(document) == {"swapped_in_images"}
    assert keys_of(document, "swapped_in_images") == [["07"]]
    assert LABELS.names[one] in message_of(document, "swapped_in_images")
