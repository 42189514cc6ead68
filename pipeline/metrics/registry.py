"""METRICS: the name of every metric -> its record, in the order of the reports."""

from maskmill.pipeline.metrics import calibration, definitions
from maskmill.pipeline.metrics.metric import Metric
from maskmill.schemas.errors import SettingsError

METRICS: dict[str, Metric] = {
    "miou": definitions.MIOU,
    "iou": definitions.IOU,
    "miou_truth_present": definitions.MIOU_TRUTH_PRESENT,
    "miou_image_class": definitions.MIOU_IMAGE_CLASS,
    "miou_class_of_images": definitions.MIOU_CLASS_OF_IMAGES,
    "miou_per_image": definitions.MIOU_PER_IMAGE,
    "pixel_accuracy": definitions.PIXEL_ACCURACY,
    "mean_accuracy": definitions.MEAN_ACCURACY,
    "fwiou": definitions.FREQUENCY_WEIGHTED_IOU,
    "dice": definitions.DICE,
    "precision": definitions.PRECISION,
    "recall": definitions.RECALL,
    "category_iou": definitions.CATEGORY_IOU,
    "boundary_iou": definitions.BOUNDARY_IOU,
    "band_iou": definitions.BAND_IOU,
    "ece": calibration.EXPECTED_CALIBRATION_ERROR,
}


def metric_of(name: str) -> Metric:
    """The metric of that name.

    Raises:
        SettingsError: no such metric; the message lists them.
    """
    try:
        return METRICS[name]
    except KeyError:
        raise SettingsError(f"no metric {name!r}; there are: {', '.join(METRICS)}") from None
