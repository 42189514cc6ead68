"""The definitions: sums in, ratios out. Every function takes any leading axes (…).

A ratio without a denominator is NaN here and null in every output: it is left out of means.
Sums stay whole until the one division at the end.
"""

import numpy as np
import numpy.typing as npt

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


def miou_truth_present(totals: Totals) -> Sums:
    """(…,): mean of IoU over the classes that occur in the truth (detectron2, Ultralytics)."""
    return _mean_where(iou(totals), totals.truth > 0)


def miou_image_class(totals: Totals) -> Sums:
    """(…,): mean of the per-image IoU over all (image, class) pairs with a union."""
    return _ratio(totals.image_iou.sum(axis=-1), totals.image_iou_count.sum(axis=-1))


def miou_class_of_images(totals: Totals) -> Sums:
    """(…,): per class the mean of the per-image IoU, then the mean over classes."""
    return _mean(_ratio(totals.image_iou, totals.image_iou_count))


def miou_per_image(totals: Totals) -> Sums:
    """(…,): mean over images of each image's own mIoU."""
    return _ratio(totals.image_miou[..., 0], totals.image_miou_count[..., 0])


def pixel_accuracy(totals: Totals) -> Sums:
    """(…,): pixels predicted right / pixels whose truth is a class."""
    return _ratio(totals.true_positive.sum(axis=-1), totals.truth.sum(axis=-1))


def recall(totals: Totals) -> Sums:
    """(…, C): TP / (TP + FN); also called class accuracy."""
    return _ratio(totals.true_positive, totals.truth)


def mean_recall(totals: Totals) -> Sums:
    """(…,): mean of recall over the classes that occur in the truth; also called mean accuracy."""
    return _mean(recall(totals))


def precision(totals: Totals) -> Sums:
    """(…, C): TP / (TP + FP)."""
    return _ratio(totals.true_positive, totals.predicted)


def mean_precision(totals: Totals) -> Sums:
    """(…,): mean of precision over the classes that were predicted."""
    return _mean(precision(totals))


def dice(totals: Totals) -> Sums:
    """(…, C): 2 TP / (2 TP + FP + FN); the same number as F1."""
    return _ratio(2 * totals.true_positive, totals.truth + totals.predicted)


def mean_dice(totals: Totals) -> Sums:
    """(…,): mean of Dice over the classes with a union."""
    return _mean(dice(totals))


def frequency_weighted_iou(totals: Totals) -> Sums:
    """(…,): IoU weighted by the class's share of the truth's pixels."""
    weighted = np.where(totals.truth > 0, iou(totals), 0.0) * totals.truth
    return _ratio(weighted.sum(axis=-1), totals.truth.sum(axis=-1))


def category_iou(totals: Totals) -> Sums:
    """(…, K): IoU of supercategories; a mistake inside one is none (as in cityscapesScripts)."""
    inside = totals.category_true_positive
    return _ratio(inside, totals.category_truth + totals.category_predicted - inside)


def mean_category_iou(totals: Totals) -> Sums:
    """(…,): mean of category IoU over the categories with a union."""
    return _mean(category_iou(totals))


def boundary_iou(totals: Totals) -> Sums:
    """(…, C): Boundary IoU (Cheng et al., CVPR 2021) of the summed counts."""
    return _ratio(totals.boundary_intersection, totals.boundary_union)


def mean_boundary_iou(totals: Totals) -> Sums:
    """(…,): mean of Boundary IoU over the classes with a union of boundaries."""
    return _mean(boundary_iou(totals))


def band_iou(totals: Totals) -> Sums:
    """(…, C): IoU of the pixels within 5 px of a boundary of the truth."""
    return _ratio(totals.band_intersection, totals.band_union)


def mean_band_iou(totals: Totals) -> Sums:
    """(…,): mean of the band IoU over the classes with a union in the band."""
    return _mean(band_iou(totals))
