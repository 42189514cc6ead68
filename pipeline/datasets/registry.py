"""DATASET_FORMATS: every layout that can be read or written. To add one: a file and a line."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from pipeline.datasets.samples import DatasetReader, DatasetWriter
from schemas.errors import SettingsError


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetFormat:
    """One layout. ``reader`` and ``writer`` are ``module:ATTR``, imported when used.

    ``exact``: every class pixel comes back as it was (with ``max_loss`` 0 for polygons);
    ``holds_ignore``: ignore pixels come back as ignore; ``needs_images``: reading needs the
    pictures, for their sizes; ``max_classes`` counts background.
    """

    summary: str
    reader: str | None = None
    writer: str | None = None
    exact: bool = True
    holds_ignore: bool = False
    needs_images: bool = False
    polygons: bool = False
    max_classes: int = 65535

    def load_reader(self) -> DatasetReader:
        """The reader; the format must have one."""
        reader: DatasetReader = _load(self.reader)
        return reader

    def load_writer(self) -> DatasetWriter:
        """The writer; the format must have one."""
        writer: DatasetWriter = _load(self.writer)
        return writer


# fmt: off
DATASET_FORMATS: dict[str, DatasetFormat] = {
    "coco": DatasetFormat(summary="COCO instances JSON, compressed RLE", reader="pipeline.datasets.coco:READER", writer="pipeline.datasets.coco:WRITER"),  # noqa: E501
    "coco_uncompressed": DatasetFormat(summary="COCO instances JSON, RLE as lists", reader="pipeline.datasets.coco:READER", writer="pipeline.datasets.coco:UNCOMPRESSED_WRITER"),  # noqa: E501
    "coco_polygons": DatasetFormat(summary="COCO instances JSON, polygons", reader="pipeline.datasets.coco:READER", writer="pipeline.datasets.coco:POLYGON_WRITER", polygons=True),  # noqa: E501
    "panoptic": DatasetFormat(summary="COCO panoptic JSON and PNGs", reader="pipeline.datasets.panoptic:READER", writer="pipeline.datasets.panoptic:WRITER", holds_ignore=True),  # noqa: E501
    "panoptic_two_channels": DatasetFormat(summary="panoptic PNGs, class in R and instance in G", reader="pipeline.datasets.panoptic:TWO_CHANNEL_READER", holds_ignore=True, max_classes=256),  # noqa: E501
    "voc": DatasetFormat(summary="Pascal VOC segmentation", reader="pipeline.datasets.voc:READER", writer="pipeline.datasets.voc:WRITER", holds_ignore=True, max_classes=255),  # noqa: E501
    "cvat_mask": DatasetFormat(summary="CVAT 'Segmentation mask 1.1' zip", reader="pipeline.datasets.cvat_mask:READER", writer="pipeline.datasets.cvat_mask:WRITER", max_classes=254),  # noqa: E501
    "cvat_images": DatasetFormat(summary="CVAT for images 1.1 XML, mask shapes", reader="pipeline.datasets.cvat_images:READER", writer="pipeline.datasets.cvat_images:WRITER"),  # noqa: E501
    "cvat_images_polygons": DatasetFormat(summary="CVAT for images 1.1 XML, polygons", reader="pipeline.datasets.cvat_images:READER", writer="pipeline.datasets.cvat_images:POLYGON_WRITER", polygons=True),  # noqa: E501
    "label_studio": DatasetFormat(summary="Label Studio predictions, brush masks", reader="pipeline.datasets.label_studio:READER", writer="pipeline.datasets.label_studio:WRITER"),  # noqa: E501
    "label_studio_polygons": DatasetFormat(summary="Label Studio predictions, polygons", reader="pipeline.datasets.label_studio:READER", writer="pipeline.datasets.label_studio:POLYGON_WRITER", polygons=True),  # noqa: E501
    "labelme": DatasetFormat(summary="labelme JSON, mask shapes", reader="pipeline.datasets.labelme:READER", writer="pipeline.datasets.labelme:WRITER", holds_ignore=True),  # noqa: E501
    "labelme_polygons": DatasetFormat(summary="labelme JSON, polygons", reader="pipeline.datasets.labelme:READER", writer="pipeline.datasets.labelme:POLYGON_WRITER", holds_ignore=True, polygons=True),  # noqa: E501
    "supervisely": DatasetFormat(summary="Supervisely project, bitmaps", reader="pipeline.datasets.supervisely:READER", writer="pipeline.datasets.supervisely:WRITER"),  # noqa: E501
    "yolo": DatasetFormat(summary="YOLO segmentation text files", reader="pipeline.datasets.yolo:READER", writer="pipeline.datasets.yolo:WRITER", needs_images=True, polygons=True),  # noqa: E501
}
# fmt: on


def dataset_format(name: str) -> DatasetFormat:
    """A format by name.

    Raises:
        SettingsError: no such format; the message lists them.
    """
    if name not in DATASET_FORMATS:
        raise SettingsError(f"no format {name!r}; there are: {', '.join(DATASET_FORMATS)}")
    return DATASET_FORMATS[name]


def readable_formats() -> list[str]:
    """Names for ``--from``."""
    return [name for name, entry in DATASET_FORMATS.items() if entry.reader]


def writable_formats() -> list[str]:
    """Names for ``--to``."""
    return [name for name, entry in DATASET_FORMATS.items() if entry.writer]


def _load(reference: str | None) -> Any:
    if reference is None:
        raise SettingsError("this format cannot be used in that direction")
    module, _, attribute = reference.partition(":")
    return getattr(import_module(module), attribute)
