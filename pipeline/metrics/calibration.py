"""Does a confidence of 0.9 mean right nine times in ten? Counts per level, ECE, curves."""

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.metrics.metric import Metric
from maskmill.pipeline.metrics.totals import CONFIDENCE_LEVELS, Sums, Totals
from maskmill.schemas.arrays import ConfidenceMap, LabelMask

CALIBRATION_BINS = 15  # Guo et al., On Calibration of Modern Neural Networks, ICML 2017
_EDGES = np.arange(CONFIDENCE_LEVELS + 1) / CONFIDENCE_LEVELS  # the doubles nearest to k / 60


def count_levels(
    truth: LabelMask, prediction: LabelMask, confidence: ConfidenceMap, num_classes: int
) -> Sums:
    """(3, 60): pixels, pixels predicted right and summed confidence per confidence level.

    Args:
        truth: (H, W) class map; values from ``num_classes`` on leave the count.
        prediction: (H, W) class map; the same values count as predicted by no one, and leave too.
        confidence: (H, W) in [0, 1]; a value on the edge of two levels belongs to the lower one,
            as in Guo et al.: bin m holds ((m - 1) / M, m / M], and 0 is in the first.
        num_classes: C.
    """
    counted = (truth < num_classes) & (prediction < num_classes)
    scores = np.clip(confidence[counted].astype(np.float64), 0.0, 1.0)
    levels = _level_of(scores)
    right = (truth[counted] == prediction[counted]).astype(np.float64)
    return np.stack(
        [
            np.bincount(levels, minlength=CONFIDENCE_LEVELS).astype(np.float64),
            np.bincount(levels, weights=right, minlength=CONFIDENCE_LEVELS),
            np.bincount(levels, weights=scores, minlength=CONFIDENCE_LEVELS),
        ]
    )


def _level_of(scores: Sums) -> npt.NDArray[np.intp]:
    levels = np.ceil(scores * CONFIDENCE_LEVELS).astype(np.intp) - 1
    levels = np.clip(levels, 0, CONFIDENCE_LEVELS - 1)
    # the product is rounded: a score next to an edge may have come out on its other side
    levels += scores > _EDGES[levels + 1]
    levels -= (scores <= _EDGES[levels]) & (levels > 0)
    return levels


def expected_calibration_error(totals: Totals) -> Sums:
    """(…,): Σ over 15 bins of (pixels / all) · |accuracy - mean confidence|; NaN without pixels."""
    pixels, gap = (
        _binned(totals.level_pixels),
        _binned(totals.level_correct - totals.level_confidence),
    )
    total = pixels.sum(axis=-1)
    result = np.full(total.shape, np.nan)
    np.divide(np.abs(gap).sum(axis=-1), total, out=result, where=total > 0)
    return result


EXPECTED_CALIBRATION_ERROR = Metric(
    title="expected calibration error",
    definition="mean over 15 equal confidence bins, weighted by pixels, of |accuracy - mean "
    "confidence| (Guo et al. 2017)",
    score=expected_calibration_error,
    needs="confidences",
    shown="console",
    lower_is_better=True,
)


def reliability(totals: Totals) -> list[dict[str, float]]:
    """Per occupied calibration bin of one dataset: low edge, pixels, accuracy, mean confidence."""
    pixels = _binned(totals.level_pixels)
    correct, confidence = _binned(totals.level_correct), _binned(totals.level_confidence)
    return [
        {
            "from": index / CALIBRATION_BINS,
            "pixels": float(count),
            "accuracy": float(correct[index] / count),
            "confidence": float(confidence[index] / count),
        }
        for index, count in enumerate(pixels)
        if count > 0
    ]


def coverage_curve(totals: Totals) -> list[dict[str, float]]:
    """Keeping only pixels above this confidence: their share, and the share of them right."""
    pixels = np.cumsum(totals.level_pixels[::-1])[::-1]
    correct = np.cumsum(totals.level_correct[::-1])[::-1]
    return [
        {
            "confidence": level / CONFIDENCE_LEVELS,
            "coverage": float(pixels[level] / pixels[0]),
            "accuracy": float(correct[level] / pixels[level]),
        }
        for level in range(CONFIDENCE_LEVELS)
        if pixels[level] > 0
    ]


def changed_per_decile(totals: Totals) -> list[dict[str, float]]:
    """Per tenth of confidence: pixels, and the share on which truth and prediction differ."""
    pixels = totals.level_pixels.reshape(10, -1).sum(axis=-1)
    correct = totals.level_correct.reshape(10, -1).sum(axis=-1)
    return [
        {
            "from": tenth / 10,
            "pixels": float(pixels[tenth]),
            "changed": float(1 - correct[tenth] / pixels[tenth]),
        }
        for tenth in range(10)
        if pixels[tenth] > 0
    ]


def _binned(levels: Sums) -> Sums:
    binned: Sums = levels.reshape(*levels.shape[:-1], CALIBRATION_BINS, -1).sum(axis=-1)
    return binned
