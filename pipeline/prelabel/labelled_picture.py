"""The network's answers to one picture -> mask, segments and scores, by the rules of a command."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from maskmill.pipeline.labelling.fusion import FusedPicture
from maskmill.pipeline.labelling.picture import ignore_unsure, label_picture
from maskmill.pipeline.masks.rle import Runs, class_runs
from maskmill.pipeline.masks.segments import Per, Segment, drop_small, segments_of
from maskmill.pipeline.views.geometry import GridView
from maskmill.pipeline.views.plan import ViewPlan
from maskmill.schemas.arrays import LabelMask
from maskmill.schemas.labels import LabelMap


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRules:
    """What becomes of the answers: the options of `maskmill prelabel` of these names."""

    labels: LabelMap
    threshold: float | None = None
    min_confidence: float | None = None
    min_area: int = 0
    segments: Per = "class"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledPicture:
    """``mask`` is (H, W) at the picture's size, after the rules; ``fused`` holds its confidence.

    ``runs`` are those of the mask by class. ``class_scores`` holds the mean top-1 confidence of
    every class index, in [0, 1], NaN where the network saw none of it.
    """

    mask: LabelMask
    fused: FusedPicture
    runs: Mapping[int, Runs]
    segments: Sequence[Segment]
    class_scores: Sequence[float]


def labelled_picture(
    answers: Sequence[GridView], plan: ViewPlan, size_hw: tuple[int, int], rules: LabelRules
) -> LabelledPicture:
    """Mask, segments and scores of a picture of ``size_hw``; ``answers`` are in the plan's order.

    Raises:
        ValueError: answers that do not fit the plan; a threshold without two classes.
        MaskFailure: UNKNOWN_VALUE, where the network says a class that the label map lacks.
    """
    labels = rules.labels
    fused = label_picture(
        answers, plan, size_hw, dtype=labels.mask_dtype, threshold=rules.threshold
    )
    scores = fused.confidence.class_confidence.tolist()
    if rules.min_confidence is not None:
        ignore_unsure(fused, rules.min_confidence, labels.ignore_index)
    mask = drop_small(fused.mask, rules.min_area, labels) if rules.min_area else fused.mask
    runs = class_runs(mask)
    return LabelledPicture(
        mask=mask,
        fused=fused,
        runs=runs,
        segments=segments_of(mask, labels, per=rules.segments, class_scores=scores, runs=runs),
        class_scores=scores,
    )
