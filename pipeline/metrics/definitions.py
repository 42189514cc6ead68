"""The definitions: sums in, ratios out. Every function takes any leading axes (…).

A ratio without a denominator is NaN here and null in every output: it is left out of means.
Sums stay whole until the one division at the end.
"""

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.metrics.metric import Metric
from maskmill.pipeline.metrics.totals import Sums, Totals


def _ratio(numerator: Sums, denominator: Sums) -> Sums:
    result = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    np.divide(numerator, denominator, out=result, where=denominator > 0)
    return result


def _mean_where(values: Sums, chosen: npt.NDArray[np.bool_]) -> Sums:
    """(…,): mean over the last axis of the values that are chosen; NaN where none is."""
    kept = np.where(chosen, values, 0.0).sum(axis=-1)
    return _ratio(kept, chosen.sum(axis=-1).astype(np.float64))


def _mean(values: Sums) -> Sums:
    return _mean_where(values, np.isfinite(values))


def iou(totals: Totals) -> Sums:
    """(…, C): TP / (TP + FP + FN) of the summed counts."""
    return _ratio(totals.true_positive, totals.truth + totals.predicted - totals.true_positive)


def miou(totals: Totals) -> Sums:
    """(…,): mean of IoU over the classes with a union; as in mmsegmentation."""
    return _mean(iou(totals))


MIOU = Metric(
    title="mIoU",
    definition="mean over the classes with a union of TP / (TP + FP + FN), counts summed over the "
    "dataset; absent classes are null (mmsegmentation)",
    score=miou,
    shown="console",
)
IOU = Metric(
    title="IoU",
    definition="TP / (TP + FP + FN) per class, counts summed over the dataset; without a class: "
    "mIoU",
    score=miou,
    per_class=iou,
    shown="classes",
)


def miou_truth_present(totals: Totals) -> Sums:
    """(…,): mean of IoU over the classes that occur in the truth (detectron2, Ultralytics)."""
    return _mean_where(iou(totals), totals.truth > 0)


MIOU_TRUTH_PRESENT = Metric(
    title="mIoU, truth-present classes",
    definition="as mIoU, but the mean is over classes that occur in the truth: false positives of "
    "absent classes vanish (detectron2, Ultralytics)",
    score=miou_truth_present,
)


def miou_image_class(totals: Totals) -> Sums:
    """(…,): mean of the per-image IoU over all (image, class) pairs with a union."""
    return _ratio(totals.image_iou.sum(axis=-1), totals.image_iou_count.sum(axis=-1))


MIOU_IMAGE_CLASS = Metric(
    title="mIoU, (image, class) pairs",
    definition="mean over all (image, class) pairs with a union of the image's IoU",
    score=miou_image_class,
)


def miou_class_of_images(totals: Totals) -> Sums:
    """(…,): per class the mean of the per-image IoU, then the mean over classes."""
    return _mean(_ratio(totals.image_iou, totals.image_iou_count))


MIOU_CLASS_OF_IMAGES = Metric(
    title="mIoU, classes of image means",
    definition="per class the mean of the image's IoU over the images where the class has a "
    "union; then the mean over classes",
    score=miou_class_of_images,
)


def miou_per_image(totals: Totals) -> Sums:
    """(…,): mean over images of each image's own mIoU."""
    return _ratio(totals.image_miou[..., 0], totals.image_miou_count[..., 0])


MIOU_PER_IMAGE = Metric(
    title="mIoU, per image",
    definition="each image's own mIoU; then the mean over images",
    score=miou_per_image,
)


def pixel_accuracy(totals: Totals) -> Sums:
    """(…,): pixels predicted right / pixels whose truth is a class."""
    return _ratio(totals.true_positive.sum(axis=-1), totals.truth.sum(axis=-1))


PIXEL_ACCURACY = Metric(
    title="pixel accuracy",
    definition="pixels predicted right / pixels whose truth is a class",
    score=pixel_accuracy,
    shown="console",
)


def recall(totals: Totals) -> Sums:
    """(…, C): TP / (TP + FN); also called class accuracy."""
    return _ratio(totals.true_positive, totals.truth)


def mean_recall(totals: Totals) -> Sums:
    """(…,): mean of recall over the classes that occur in the truth; also called mean accuracy."""
    return _mean(recall(totals))


RECALL = Metric(
    title="recall",
    definition="TP / (TP + FN); without a class: mean over the classes that occur in the truth",
    score=mean_recall,
    per_class=recall,
)
MEAN_ACCURACY = Metric(
    title="mean accuracy",
    definition="mean over the classes that occur in the truth of TP / (TP + FN); the same as mean "
    "recall",
    score=mean_recall,
    shown="console",
)


def precision(totals: Totals) -> Sums:
    """(…, C): TP / (TP + FP)."""
    return _ratio(totals.true_positive, totals.predicted)


def mean_precision(totals: Totals) -> Sums:
    """(…,): mean of precision over the classes that were predicted."""
    return _mean(precision(totals))


PRECISION = Metric(
    title="precision",
    definition="TP / (TP + FP); without a class: mean over the classes that were predicted",
    score=mean_precision,
    per_class=precision,
)


def dice(totals: Totals) -> Sums:
    """(…, C): 2 TP / (2 TP + FP + FN); the same number as F1."""
    return _ratio(2 * totals.true_positive, totals.truth + totals.predicted)


def mean_dice(totals: Totals) -> Sums:
    """(…,): mean of Dice over the classes with a union."""
    return _mean(dice(totals))


DICE = Metric(
    title="Dice (F1)",
    definition="2 TP / (2 TP + FP + FN); without a class: mean over the classes with a union",
    score=mean_dice,
    per_class=dice,
)


def frequency_weighted_iou(totals: Totals) -> Sums:
    """(…,): IoU weighted by the class's share of the truth's pixels."""
    weighted = np.where(totals.truth > 0, iou(totals), 0.0) * totals.truth
    return _ratio(weighted.sum(axis=-1), totals.truth.sum(axis=-1))


FREQUENCY_WEIGHTED_IOU = Metric(
    title="frequency-weighted IoU",
    definition="IoU weighted by the class's share of the truth's pixels",
    score=frequency_weighted_iou,
)


def category_iou(totals: Totals) -> Sums:
    """(…, K): IoU of supercategories; a mistake inside one is none (as in cityscapesScripts)."""
    inside = totals.category_true_positive
    return _ratio(inside, totals.category_truth + totals.category_predicted - inside)


def mean_category_iou(totals: Totals) -> Sums:
    """(…,): mean of category IoU over the categories with a union."""
    return _mean(category_iou(totals))


CATEGORY_IOU = Metric(
    title="category mIoU",
    definition="mean IoU of supercategories; a mistake inside a category is none "
    "(cityscapesScripts)",
    score=mean_category_iou,
    needs="categories",
)


def boundary_iou(totals: Totals) -> Sums:
    """(…, C): Boundary IoU (Cheng et al., CVPR 2021) of the summed counts."""
    return _ratio(totals.boundary_intersection, totals.boundary_union)


def mean_boundary_iou(totals: Totals) -> Sums:
    """(…,): mean of Boundary IoU over the classes with a union of boundaries."""
    return _mean(boundary_iou(totals))


BOUNDARY_IOU = Metric(
    title="Boundary IoU",
    definition="IoU of the pixels of a class within 2 % of the image diagonal of its own border, "
    "truth against prediction, ignored pixels out of both first, counts summed over the dataset "
    "(Cheng et al. 2021); without a class: mean over the classes with a union",
    score=mean_boundary_iou,
    per_class=boundary_iou,
    needs="boundaries",
    shown="console",
)


def band_iou(totals: Totals) -> Sums:
    """(…, C): IoU of the pixels within 5 px of a boundary of the truth."""
    return _ratio(totals.band_intersection, totals.band_union)


def mean_band_iou(totals: Totals) -> Sums:
    """(…,): mean of the band IoU over the classes with a union in the band."""
    return _mean(band_iou(totals))


BAND_IOU = Metric(
    title="boundary-band IoU",
    definition="IoU of the pixels within 5 px of a border of the truth; without a class: mean over "
    "the classes with a union there",
    score=mean_band_iou,
    per_class=band_iou,
    needs="boundaries",
)
