"""Small pictures of what two audits say of one picture: truth, before, after, what changed."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.audit.class_maps import ClassMaps
from maskmill.pipeline.audit.operator import AuditSettings
from maskmill.pipeline.audit.pair import resized_nearest
from maskmill.pipeline.audit.pair_masks import mask_print
from maskmill.pipeline.audit.report.thumbnails import colors_of, picture_of, png_uri, shrunk
from maskmill.pipeline.audit.sides import AuditSide
from maskmill.schemas.arrays import LabelMask
from maskmill.schemas.errors import FileFailure, SettingsError
from maskmill.schemas.labels import LabelMap

RIGHT, MENDED, BROKEN, WRONG, IGNORED = (
    (46, 52, 64), (64, 180, 110), (235, 64, 52), (240, 180, 60), (150, 150, 150),
)  # fmt: skip
"""Right in both; right only after; right only before; wrong in both; ignored in the truth."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Changes:
    """data: URIs; ``image`` is '' where no picture is known or it cannot be shown."""

    image: str
    truth: str
    before: str
    after: str
    difference: str


def settings_of(document: Row) -> AuditSettings:
    """How the masks of an audit were read, from its document."""
    settings = document["settings"]
    sides = settings.get("sides")
    if sides is None:
        raise SettingsError(
            "an audit was made by an earlier version, which did not note how masks are read; "
            "audit again with --overwrite to see pictures"
        )
    return AuditSettings(
        labels=LabelMap.from_dict(document["labels"]), ignore=tuple(settings["ignore"]),
        resize=settings["resize"] is not None,
        prediction=AuditSide.from_dict(sides["prediction"]),
        truth=AuditSide.from_dict(sides["truth"]),
    )  # fmt: skip


class ChangeMaker:
    """Reads a picture's masks of two audits again and draws them in the label map's colours."""

    def __init__(self, before: AuditSettings, after: AuditSettings) -> None:
        self._maps = ClassMaps(before), ClassMaps(after)
        self._num_classes = len(before.labels.classes)
        self._colors = colors_of(before.labels)

    def draw(self, before: Row, after: Row) -> Changes | None:
        """Thumbnails of one key's two rows; None where a file is gone or not what was audited."""
        try:
            truth = self._maps[1].truth(after)
            masks = [
                maps.prediction(row) for maps, row in zip(self._maps, (before, after), strict=True)
            ]
        except FileFailure:
            return None
        masks = [resized_nearest(mask, truth.shape) for mask in masks]
        if not all(
            _is_unchanged(row, truth, mask)
            for row, mask in zip((before, after), masks, strict=True)
        ):
            return None
        place = slice(0, truth.shape[0]), slice(0, truth.shape[1])
        small, left, right = shrunk(truth), shrunk(masks[0]), shrunk(masks[1])
        return Changes(
            image=picture_of(after["image_uri"] or before["image_uri"], truth.shape, place),
            truth=png_uri(self._colors[small]), before=png_uri(self._colors[left]),
            after=png_uri(self._colors[right]),
            difference=png_uri(change_colors(small, left, right, self._num_classes)),
        )  # fmt: skip


def _is_unchanged(row: Row, truth: LabelMask, prediction: LabelMask) -> bool:
    """True where the masks are those of the row, or the audit only counted and cannot tell."""
    known = ((row["truth_sha256"], truth), (row["prediction_sha256"], prediction))
    return all(sha256 is None or mask_print(mask) == sha256 for sha256, mask in known)


def change_colors(
    truth: LabelMask, before: LabelMask, after: LabelMask, num_classes: int
) -> npt.NDArray[np.uint8]:
    """(H, W, 3) of three masks of one size; a truth of ``num_classes`` or more is ignored."""
    was, is_now = before == truth, after == truth
    painted = np.empty((*truth.shape, 3), dtype=np.uint8)
    painted[was & is_now] = RIGHT
    painted[~was & is_now] = MENDED
    painted[was & ~is_now] = BROKEN
    painted[~was & ~is_now] = WRONG
    painted[truth >= num_classes] = IGNORED
    return painted
