"""Every definition against hand-computed tables and independent programs."""

import json
import warnings

import numpy as np
import pytest

from maskmill.pipeline.metrics import definitions
from maskmill.pipeline.metrics.confusion import count_pair
from maskmill.pipeline.metrics.registry import METRICS
from maskmill.pipeline.metrics.totals import TotalsLayout, matrix_to_vector
from maskmill.schemas.labels import LabelClass, LabelMap

NAN = float("nan")


def layout_of(num_classes, categories=None):
    return TotalsLayout(
        num_classes, categories or tuple(str(index) for index in range(num_classes))
    )


def dataset(pairs, num_classes, categories=None):
    """Totals of a list of (truth, prediction)."""
    layout = layout_of(num_classes, categories)
    vectors = [
        matrix_to_vector(count_pair(truth, prediction, num_classes).matrix, layout)
        for truth, prediction in pairs
    ]
    return layout.split(np.sum(vectors, axis=0) if vectors else np.zeros(layout.size))


def random_dataset(num_classes, images=4, seed=0, ignored_predictions=False):
    rng = np.random.default_rng(seed)
    pairs = []
    for _ in range(images):
        truth = rng.integers(0, num_classes, (30, 40)).astype(np.uint8)
        wrong = rng.random(truth.shape) < 0.4
        prediction = np.where(wrong, rng.integers(0, num_classes, truth.shape), truth)
        truth[rng.random(truth.shape) < 0.1] = 255
        if ignored_predictions:
            prediction[rng.random(truth.shape) < 0.1] = 255
        pairs.append((truth, prediction.astype(np.uint8)))
    return pairs


HAND = [
    # truth, prediction, classes, {metric: value}: computed by hand
    pytest.param([0, 0, 1, 1], [0, 1, 1, 1], 2, {
        "miou": (1 / 2 + 2 / 3) / 2, "pixel_accuracy": 3 / 4, "mean_accuracy": (1 / 2 + 1) / 2,
        "fwiou": (1 / 2 + 2 / 3) / 2, "dice": (2 / 3 + 4 / 5) / 2, "precision": (1 + 2 / 3) / 2,
    }, id="two classes"),
    pytest.param([0, 0, 0, 0], [0, 0, 0, 2], 4, {
        "miou": (3 / 4 + 0) / 2,        # 1 and 3 are absent from both, 2 is a false positive
        "miou_truth_present": 3 / 4,    # the false positive of class 2 vanishes
        "mean_accuracy": 3 / 4, "precision": (1 + 0) / 2, "fwiou": 3 / 4,
    }, id="absent classes"),
    pytest.param([255, 255], [0, 1], 2, {
        "miou": NAN, "pixel_accuracy": NAN, "dice": NAN, "miou_per_image": NAN, "fwiou": NAN,
    }, id="all ignored"),
    pytest.param([], [], 3, {"miou": NAN, "miou_image_class": NAN}, id="no pixels"),
    pytest.param([1], [1], 2, {"miou": 1.0, "pixel_accuracy": 1.0, "mean_accuracy": 1.0},
                 id="one pixel, right"),
    pytest.param([1], [0], 2, {"miou": 0.0, "pixel_accuracy": 0.0, "precision": 0.0},
                 id="one pixel, wrong"),
    pytest.param([0, 0, 1], [0, 255, 1], 2, {
        "miou": (1 / 2 + 1) / 2,        # the ignored prediction is a miss of 0 ...
        "precision": 1.0,               # ... and nobody's false positive
        "pixel_accuracy": 2 / 3,
    }, id="ignored prediction"),
    pytest.param([0, 255, 1], [0, 1, 1], 2, {"miou": 1.0, "precision": 1.0}, id="ignored truth"),
]  # fmt: skip


@pytest.mark.parametrize("truth, prediction, num_classes, expected", HAND)
def test_hand_computed(truth, prediction, num_classes, expected):
    pair = np.array([truth], np.uint8), np.array([prediction], np.uint8)
    totals = dataset([pair], num_classes)
    for name, value in expected.items():
        assert METRICS[name].score(totals) == pytest.approx(value, abs=1e-12, nan_ok=True), name


def test_an_empty_folder_has_no_numbers_and_no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        totals = dataset([], 3)
        for name, metric in METRICS.items():
            assert np.isnan(metric.score(totals)), name


@pytest.mark.parametrize("num_classes", [150, 300])
def test_many_classes_by_hand(num_classes):
    """Class k has k + 1 pixels, one of which is predicted as class 0 (for k > 0)."""
    dtype = np.uint16
    truth = np.repeat(np.arange(num_classes), np.arange(1, num_classes + 1)).astype(dtype)[None]
    prediction = truth.copy()
    starts = np.cumsum(np.arange(1, num_classes))
    prediction[0, starts] = 0
    totals = dataset([(truth, prediction)], num_classes)
    expected = [1 / num_classes] + [k / (k + 1) for k in range(1, num_classes)]
    np.testing.assert_allclose(definitions.iou(totals), expected, rtol=0, atol=1e-12)
    assert definitions.miou(totals) == pytest.approx(sum(expected) / num_classes, abs=1e-12)


def test_four_mious_of_two_images():
    """The definitions differ on the same data, as they must."""
    first = np.array([[0, 0, 0, 1]], np.uint8), np.array([[0, 0, 1, 1]], np.uint8)
    second = np.array([[0, 0, 0, 0]], np.uint8), np.array([[0, 0, 0, 0]], np.uint8)
    totals = dataset([first, second], 2)
    assert definitions.miou(totals) == pytest.approx((6 / 7 + 1 / 2) / 2)
    assert definitions.miou_image_class(totals) == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    assert definitions.miou_class_of_images(totals) == pytest.approx(((2 / 3 + 1) / 2 + 1 / 2) / 2)
    assert definitions.miou_per_image(totals) == pytest.approx(((2 / 3 + 1 / 2) / 2 + 1) / 2)


@pytest.mark.parametrize("num_classes", [2, 21, 150])
def test_equals_torchmetrics_jaccard_index_with_ignore(num_classes, monkeypatch):
    import torch
    from torchmetrics.classification import MulticlassJaccardIndex

    # torchmetrics divides in float32; its own formula in float64 can be compared to 1e-9
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    pairs = random_dataset(num_classes)
    totals = dataset(pairs, num_classes)
    theirs = {
        average: MulticlassJaccardIndex(num_classes, average=average, ignore_index=255)
        for average in ("none", "macro", "weighted")
    }
    for truth, prediction in pairs:
        for metric in theirs.values():
            metric.update(
                torch.from_numpy(prediction.astype(int)), torch.from_numpy(truth.astype(int))
            )
    per_class = theirs["none"].compute().numpy()
    np.testing.assert_allclose(definitions.iou(totals), per_class, rtol=0, atol=1e-9)
    assert definitions.miou(totals) == pytest.approx(theirs["macro"].compute().item(), abs=1e-9)
    weighted = theirs["weighted"].compute().item()
    assert definitions.frequency_weighted_iou(totals) == pytest.approx(weighted, abs=1e-9)


def test_mean_over_image_classes_equals_torchmetrics_mean_iou():
    import torch
    from torchmetrics.functional.segmentation import mean_iou

    pairs = [
        (np.where(truth == 255, 0, truth), prediction) for truth, prediction in random_dataset(6)
    ]
    stacked = [torch.from_numpy(np.stack(side).astype(int)) for side in zip(*pairs, strict=True)]
    theirs = mean_iou(stacked[1], stacked[0], 6, per_class=True, input_format="index").double()
    totals = dataset(pairs, 6)
    ours = definitions.miou_image_class(totals)
    assert ours == pytest.approx(theirs[theirs >= 0].mean().item(), abs=1e-6)  # theirs is float32
    assert definitions.miou_per_image(totals) == pytest.approx(
        theirs.mean(1).mean().item(), abs=1e-6
    )


def test_precision_recall_dice_equal_scikit_learn():
    from sklearn.metrics import precision_recall_fscore_support

    pairs = random_dataset(7, seed=5)
    totals = dataset(pairs, 7)
    truth = np.concatenate([pair[0].ravel() for pair in pairs])
    prediction = np.concatenate([pair[1].ravel() for pair in pairs])
    kept = truth != 255
    theirs = precision_recall_fscore_support(truth[kept], prediction[kept], labels=range(7))
    for ours, expected in zip(
        (definitions.precision, definitions.recall, definitions.dice), theirs[:3], strict=True
    ):
        np.testing.assert_allclose(ours(totals), expected, rtol=0, atol=1e-9)


@pytest.fixture(scope="module")
def cityscapes_labels():
    labels = pytest.importorskip("cityscapesscripts.helpers.labels").labels
    return [label for label in labels if label.id >= 0]


def test_class_and_category_iou_equal_cityscapes_scripts(tmp_path, cityscapes_labels):
    evaluation = pytest.importorskip("cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling")
    from PIL import Image

    ignored = {label.id for label in cityscapes_labels if label.ignoreInEval}
    kept = [label for label in cityscapes_labels if not label.ignoreInEval]
    index_of = {label.id: position for position, label in enumerate(kept)}
    rng = np.random.default_rng(11)
    files, pairs = [], []
    for number in range(3):
        truth = rng.integers(0, 34, (48, 64)).astype(np.uint8)
        other = rng.integers(0, 34, truth.shape)
        prediction = np.where(rng.random(truth.shape) < 0.5, other, truth).astype(np.uint8)
        names = [str(tmp_path / f"{side}_{number}.png") for side in ("truth", "prediction")]
        for name, mask in zip(names, (truth, prediction), strict=True):
            Image.fromarray(mask).save(name)
        files.append(names)
        table = np.array([index_of.get(value, 255) for value in range(256)], np.uint8)
        pairs.append((table[truth], table[prediction]))
    arguments = evaluation.args
    arguments.evalInstLevelScore = False
    arguments.JSONOutput = False
    arguments.quiet = True
    theirs = evaluation.evaluateImgLists(
        [names[1] for names in files], [names[0] for names in files], arguments
    )
    totals = dataset(pairs, len(kept), tuple(label.category for label in kept))
    for position, label in enumerate(kept):
        expected = theirs["classScores"][label.name]
        assert definitions.iou(totals)[position] == pytest.approx(expected, abs=1e-9), label.name
    names = TotalsLayout(len(kept), tuple(label.category for label in kept)).category_names
    for name, ours in zip(names, definitions.category_iou(totals), strict=True):
        assert ours == pytest.approx(theirs["categoryScores"][name], abs=1e-9), name
    assert definitions.miou(totals) == pytest.approx(theirs["averageScoreClasses"], abs=1e-9)
    mean = definitions.mean_category_iou(totals)
    assert mean == pytest.approx(theirs["averageScoreCategories"], abs=1e-9)
    assert len(ignored) > 10


def test_categories_come_from_supercategories():
    labels = LabelMap(name="t", classes=tuple(
        LabelClass(index=index, name=name, color=(0, 0, index), category_id=index + 1,
                   supercategory=group)
        for index, (name, group) in enumerate([("cat", "animal"), ("car", ""), ("dog", "animal")])
    ))  # fmt: skip
    layout = TotalsLayout.of(labels)
    assert layout.category_names == ("animal", "car")
    matrix = count_pair(np.array([[0, 2, 1]], np.uint8), np.array([[2, 2, 0]], np.uint8), 3).matrix
    totals = layout.split(matrix_to_vector(matrix, layout))
    assert definitions.category_iou(totals).tolist() == [2 / 3, 0.0]
    assert json.dumps(layout.category_of_class().tolist()) == "[0, 1, 0]"
