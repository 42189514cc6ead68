"""One small audit with something of everything, as files and as a document."""

import numpy as np
import pytest
from PIL import Image

from maskmill.pipeline.audit.document import audit_document
from maskmill.pipeline.audit.operator import AuditSettings
from maskmill.pipeline.audit.tally import AuditTally
from maskmill.schemas.labels import LabelClass, LabelMap
from tests.pipeline.audit.audited import audited as audited_rows

NASTY = "</script><b>&amp;'\"|"
LABELS = LabelMap(name="nasty", classes=tuple(
    LabelClass(index=index, name=name, color=color, category_id=index, is_background=index == 0,
               supercategory=group)
    for index, (name, color, group) in enumerate([
        ("ground", (0, 0, 0), "void"), ("cat", (200, 60, 60), "animal"),
        ("dog", (60, 200, 60), "animal"), (NASTY, (60, 60, 200), "thing"),
        ("never", (9, 9, 9), "thing"),
    ])
))  # fmt: skip


def scene(seed):
    rng = np.random.default_rng(seed)
    mask = np.zeros((240, 320), np.uint8)
    for label in (1, 2, 3):
        y, x = rng.integers(5, 150), rng.integers(5, 220)
        mask[y - 3 : y + 73, x - 3 : x + 83] = 255
        mask[y : y + 70, x : x + 80] = label
    return mask


@pytest.fixture(scope="session")
def audited(tmp_path_factory):
    """(document, settings) of 12 pairs: one missing, one of another size, one mislabelled."""
    folder = tmp_path_factory.mktemp("audited")
    rows = []
    for number in range(1, 13):
        truth = scene(number)
        rng = np.random.default_rng(number)
        prediction = np.where(truth == 255, 0, truth).astype(np.uint8)
        prediction[rng.random(truth.shape) < 0.02 * number] = 1
        if number == 3:
            truth[truth == 2] = 0  # an object the annotator missed
        if number == 4:
            prediction = prediction[::2, ::2]
        truth[0, :7] = 99
        paths = {side: folder / f"{side}{number}.png" for side in ("p", "t", "i", "c")}
        Image.fromarray(truth).save(paths["t"])
        Image.fromarray(prediction).save(paths["p"])
        Image.fromarray(rng.integers(0, 255, (*truth.shape, 3), dtype=np.uint8)).save(paths["i"])
        levels = rng.integers(100, 256, prediction.shape).astype(np.uint8)
        Image.fromarray(levels).save(paths["c"])
        rows.append({
            "pair_id": number, "key": f"folder/{number:02}", "prediction_uri": str(paths["p"]),
            "truth_uri": str(paths["t"]), "image_uri": str(paths["i"]),
            "confidence_uri": str(paths["c"]),
        })  # fmt: skip
    rows[-1] |= {
        "prediction_uri": None, "key": f"<i>{NASTY}", "error_code": "missing_prediction",
        "error_message": f"{NASTY}: no prediction",
    }  # fmt: skip
    settings = AuditSettings(labels=LABELS, hash_images=True)
    tally = AuditTally(LABELS, 10, resamples=200)
    tally.add(audited_rows(rows, settings))
    pairing = {"rules": {"same path": 11}, "not_considered": {"_color": 2}}
    return audit_document(tally, {"seed": 0, "ignore": [255]}, pairing), settings
