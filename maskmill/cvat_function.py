"""A model as CVAT's auto-annotation function; `cvat-cli` and CVAT's agents load this module.

``cvat-cli task auto-annotate ID --function-module maskmill.cvat_function -p model=str:NAME`` calls
:func:`create`; see docs/serve.md. Facts: cvat_sdk 2.80, auto_annotation/interface.py.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from maskmill.model import Model, load_model
from maskmill.pipeline.masks.polygons import mask_to_polygons, parts_to_rings
from maskmill.pipeline.masks.rle import decode
from maskmill.pipeline.masks.segments import Segment
from maskmill.schemas.arrays import BoolMask
from maskmill.schemas.errors import SettingsError

if TYPE_CHECKING:
    from cvat_sdk.auto_annotation import DetectionFunctionContext, DetectionFunctionSpec
    from cvat_sdk.models import LabeledShapeRequest
    from PIL.Image import Image

MAX_LOSS = 0.01
"""Most of a mask's IoU that its polygons may cost, as `maskmill convert` has it."""


def create(
    model: str | None = None,
    weights: str | None = None,
    labels: str | None = None,
    device: str | None = None,
    **settings: Any,
) -> "CvatFunction":
    """The function of a model.

    Args:
        model, weights, labels, device, settings: as those of ``maskmill.load_model``; lists as the
            command takes them (``-p scales=str:0.5,1``).

    Raises:
        SettingsError: CVAT's SDK is not installed, or settings that cannot be.
        ModelError: weights that are missing, or do not fit.
    """
    try:
        import cvat_sdk.auto_annotation  # noqa: F401
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"CVAT's SDK is not installed ({error.name} is missing): pip install 'maskmill[cvat]'"
        ) from error
    return CvatFunction(load_model(model, weights, labels, device=device, **settings))


class CvatFunction:
    """What CVAT's driver asks for: which labels there are, and the shapes in a picture."""

    def __init__(self, model: Model) -> None:
        self._model = model

    @property
    def spec(self) -> "DetectionFunctionSpec":
        """Every class but the background, by its class index; a task's labels match by name."""
        from cvat_sdk.auto_annotation import DetectionFunctionSpec, label_spec

        return DetectionFunctionSpec(
            labels=[
                label_spec(
                    entry.name,
                    entry.index,
                    type="mask",
                    color="#{:02x}{:02x}{:02x}".format(*entry.color),
                )
                for entry in self._model.labels.classes
                if not entry.is_background
            ]
        )

    def detect(
        self, context: "DetectionFunctionContext", image: "Image"
    ) -> "list[LabeledShapeRequest]":
        """The masks of one picture, one per segment of `maskmill prelabel`, scores beside them.

        Segments whose class scores below CVAT's threshold are left out; where CVAT asks for
        polygons they keep 99 % of the IoU, holes joined to their outlines by seams.

        Raises:
            ImageFailure: a picture that cannot be loaded, or is too large for the memory.
        """
        labelled = self._model.label(image)
        return [
            shape
            for segment in labelled.segments
            if _is_sure(segment, context.conf_threshold)
            for shape in _shapes(segment, labelled.mask.shape, context.conv_mask_to_poly)
        ]


def _is_sure(segment: Segment, threshold: float | None) -> bool:
    """Of an unknown score nobody can say that it reaches a threshold."""
    return threshold is None or (segment.score is not None and segment.score >= threshold)


def _shapes(
    segment: Segment, shape: tuple[int, ...], as_polygons: bool
) -> "Iterator[LabeledShapeRequest]":
    from cvat_sdk.auto_annotation import mask, polygon
    from cvat_sdk.masks import encode_mask

    inside: BoolMask = decode({"size": list(shape), "counts": segment.counts})
    score = {} if segment.score is None else {"score": round(segment.score, 6)}
    if as_polygons:
        for ring in parts_to_rings(mask_to_polygons(inside, MAX_LOSS).parts):
            yield polygon(segment.class_index, ring.ravel().tolist(), **score)
        return
    x, y, width, height = segment.bbox
    yield mask(segment.class_index, encode_mask(inside, [x, y, x + width, y + height]), **score)
