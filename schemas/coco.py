"""The COCO documents as TypedDicts. Facts: COCO data format page, pycocotools 2.0.11."""

from typing import TypedDict

Bbox = list[float]
"""[x, y, width, height] in pixels, 0-indexed; [0, 0, 1, 1] covers the first pixel."""


class Rle(TypedDict):
    """Compressed run-length encoding: column-major runs, zeros first."""

    size: list[int]  # [height, width]
    counts: str


class CocoImage(TypedDict):
    """One entry of ``images``. Sizes are after EXIF orientation."""

    id: int
    file_name: str
    width: int
    height: int


class _CategoryExtras(TypedDict, total=False):
    color: list[int]
    isthing: int


class CocoCategory(_CategoryExtras):
    """One entry of ``categories``; ``color`` and ``isthing`` may be absent."""

    id: int
    name: str
    supercategory: str


class _AnnotationExtras(TypedDict, total=False):
    score: float


class CocoAnnotation(_AnnotationExtras):
    """One entry of ``annotations`` as we write it: RLE, never crowd."""

    id: int
    image_id: int
    category_id: int
    segmentation: Rle
    area: int
    bbox: Bbox
    iscrowd: int
