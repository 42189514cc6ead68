"""METRICS: name -> what it is called, how it is defined, and the function that computes it."""

from collections.abc import Callable
from dataclasses import dataclass

from maskmill.pipeline.metrics import calibration, definitions
from maskmill.pipeline.metrics.totals import Sums, Totals
from maskmill.schemas.errors import SettingsError

Score = Callable[[Totals], Sums]


@dataclass(frozen=True, slots=True)
class Metric:
    """One number of an audit. ``score`` gives (…,), ``per_class`` (…, C) where there is one.

    ``needs`` names the sums it stands on: pixels, boundaries, categories or confidences; without
    them the number is null. ``lower_is_better`` turns the sense of --fail-under and of compare.
    """

    title: str
    definition: str
    score: Score
    per_class: Score | None = None
    needs: str = "pixels"
    lower_is_better: bool = False


METRICS: dict[str, Metric] = {
    "miou": Metric(
        "mIoU",
        "mean over the classes with a union of TP / (TP + FP + FN), counts summed over the "
        "dataset; absent classes are null",
        definitions.miou,
    ),
    "iou": Metric(
        "IoU",
        "TP / (TP + FP + FN) per class, counts summed over the dataset; without a class: mIoU",
        definitions.miou,
        definitions.iou,
    ),
    "miou_truth_present": Metric(
        "mIoU, truth-present classes",
        "as mIoU, but the mean is over classes that occur in the truth: "
        "false positives of absent classes vanish",
        definitions.miou_truth_present,
    ),
    "miou_image_class": Metric(
        "mIoU, (image, class) pairs",
        "mean over all (image, class) pairs with a union of the image's IoU",
        definitions.miou_image_class,
    ),
    "miou_class_of_images": Metric(
        "mIoU, classes of image means",
        "per class the mean of the image's IoU over the images where the class "
        "has a union; then the mean over classes",
        definitions.miou_class_of_images,
    ),
    "miou_per_image": Metric(
        "mIoU, per image",
        "each image's own mIoU; then the mean over images",
        definitions.miou_per_image,
    ),
    "pixel_accuracy": Metric(
        "pixel accuracy",
        "pixels predicted right / pixels whose truth is a class",
        definitions.pixel_accuracy,
    ),
    "mean_accuracy": Metric(
        "mean accuracy",
        "mean over the classes that occur in the truth of TP / (TP + FN); the same as mean recall",
        definitions.mean_recall,
    ),
    "fwiou": Metric(
        "frequency-weighted IoU",
        "IoU weighted by the class's share of the truth's pixels",
        definitions.frequency_weighted_iou,
    ),
    "dice": Metric(
        "Dice (F1)",
        "2 TP / (2 TP + FP + FN); without a class: mean over the classes with a union",
        definitions.mean_dice,
        definitions.dice,
    ),
    "precision": Metric(
        "precision",
        "TP / (TP + FP); without a class: mean over the classes that were predicted",
        definitions.mean_precision,
        definitions.precision,
    ),
    "recall": Metric(
        "recall",
        "TP / (TP + FN); without a class: mean over the classes that occur in the truth",
        definitions.mean_recall,
        definitions.recall,
    ),
    "category_iou": Metric(
        "category mIoU",
        "mean IoU of supercategories; a mistake inside a category is none",
        definitions.mean_category_iou,
        needs="categories",
    ),
    "boundary_iou": Metric(
        "Boundary IoU",
        "IoU of the pixels of a class within 2 % of the image diagonal of its own border, truth "
        "against prediction, counts summed over the dataset (Cheng et al. 2021); without a class: "
        "mean over the classes with a union",
        definitions.mean_boundary_iou,
        definitions.boundary_iou,
        "boundaries",
    ),
    "band_iou": Metric(
        "boundary-band IoU",
        "IoU of the pixels within 5 px of a border of the truth; without a class: mean over "
        "the classes with a union there",
        definitions.mean_band_iou,
        definitions.band_iou,
        "boundaries",
    ),
    "ece": Metric(
        "expected calibration error",
        "mean over 15 equal confidence bins, weighted by pixels, of |accuracy - "
        "mean confidence| (Guo et al. 2017)",
        calibration.expected_calibration_error,
        needs="confidences",
        lower_is_better=True,
    ),
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
