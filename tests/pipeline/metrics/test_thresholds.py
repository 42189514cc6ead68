"""--fail-under: what can be asked, and what counts as reached."""

import pytest

from maskmill.pipeline.metrics.thresholds import Threshold, missed_thresholds, parse_thresholds
from maskmill.schemas.errors import SettingsError
from maskmill.schemas.labels import LabelMap

LABELS = LabelMap.from_names("few", ["ground", "person", "pot/ted = plant"])


@pytest.mark.parametrize("text, expected", [
    ("", ()),
    ("0.6", (Threshold("miou", None, 0.6),)),
    ("miou=0.6,iou/person=0.8, boundary_iou=0.5", (
        Threshold("miou", None, 0.6), Threshold("iou", "person", 0.8),
        Threshold("boundary_iou", None, 0.5),
    )),
    ("recall/pot/ted = plant=1", (Threshold("recall", "pot/ted = plant", 1.0),)),
    ("ece=0.05", (Threshold("ece", None, 0.05),)),
])  # fmt: skip
def test_what_can_be_asked(text, expected):
    assert parse_thresholds(text, LABELS) == expected


@pytest.mark.parametrize("text, words", [
    ("mioo=0.5", "no metric 'mioo'; there are: miou"),
    ("iou/cat=0.5", "no class 'cat'"),
    ("miou/person=0.5", "'miou' is not known per class; there are: iou"),
    ("miou=60", "number from 0 to 1"),
    ("miou=high", "number from 0 to 1"),
    ("miou=nan", "number from 0 to 1"),
])  # fmt: skip
def test_what_cannot(text, words):
    with pytest.raises(SettingsError, match=words):
        parse_thresholds(text, LABELS)


def document(miou, person, ece):
    return {
        "metrics": {"miou": {"value": miou}, "ece": {"value": ece}},
        "classes": [{"name": name, "iou": {"value": person}} for name in LABELS.names],
    }


@pytest.mark.parametrize("values, missed", [
    ((0.6, 0.8, 0.1), []),                                        # exactly reached
    ((0.5999, 0.8, 0.1), ["miou is 0.5999, asked was at least 0.6"]),
    ((0.7, None, 0.1), ["iou/person has no value, asked was at least 0.8"]),  # absent: not reached
    ((0.7, 0.9, 0.11), ["ece is 0.1100, asked was at most 0.1"]),  # lower is better
])  # fmt: skip
def test_what_is_reached(values, missed):
    thresholds = parse_thresholds("0.6,iou/person=0.8,ece=0.1", LABELS)
    assert missed_thresholds(thresholds, document(*values)) == missed
