"""DATASET_FORMATS: every layout that can be read or written. To add one: a file and a line."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Final, Literal

from maskmill.pipeline.masks.registry import MASK_FORMATS
from maskmill.schemas.errors import SettingsError

if TYPE_CHECKING:  # the hub brings Arrow; --help is not to wait for it
    from maskmill.pipeline.datasets.dataset_format import DatasetFormat

Ways = Literal["from", "to", "both"]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table: ``target`` is ``module:ATTR`` below ``formats``, a DatasetFormat.

    ``ways`` says what it is a choice of: --from, --to, or both.
    """

    target: str
    ways: Ways
    summary: str


LINES: Final[dict[str, Line]] = {
    # first, since recognition asks in this order and a run holds masks and a COCO document too
    "prelabel": Line("prelabel_run:PRELABEL", "from", "a finished run of maskmill prelabel"),
    "coco": Line("coco:COCO", "both", "COCO instances JSON, compressed RLE"),
    "coco_uncompressed": Line("coco:UNCOMPRESSED", "both", "COCO instances JSON, RLE as lists"),
    "coco_polygons": Line("coco:POLYGONS", "both", "COCO instances JSON, polygons"),
    "panoptic": Line("panoptic:PANOPTIC", "both", "COCO panoptic JSON and PNGs"),
    "panoptic_two_channels": Line(
        "panoptic:TWO_CHANNELS", "from", "panoptic PNGs, class in R and instance in G"
    ),
    "voc": Line("voc:VOC", "both", "Pascal VOC segmentation"),
    "cvat_mask": Line("cvat_mask:CVAT_MASK", "both", "CVAT 'Segmentation mask 1.1' zip"),
    "cvat_images": Line("cvat_images:CVAT_IMAGES", "both", "CVAT for images 1.1 XML, mask shapes"),
    "cvat_images_polygons": Line(
        "cvat_images:POLYGONS", "both", "CVAT for images 1.1 XML, polygons"
    ),
    "label_studio": Line(
        "label_studio:LABEL_STUDIO", "both", "Label Studio predictions, brush masks"
    ),
    "label_studio_polygons": Line(
        "label_studio:POLYGONS", "both", "Label Studio predictions, polygons"
    ),
    "label_studio_png": Line(
        "label_studio_png:LABEL_STUDIO_PNG", "from", "Label Studio's PNG export, a mask per region"
    ),
    "labelme": Line("labelme:LABELME", "both", "labelme JSON, mask shapes"),
    "labelme_polygons": Line("labelme:POLYGONS", "both", "labelme JSON, polygons"),
    "supervisely": Line("supervisely:SUPERVISELY", "both", "Supervisely project, bitmaps"),
    "yolo": Line("yolo:YOLO", "both", "YOLO segmentation text files"),
    "coco_stuff": Line("coco_stuff:COCO_STUFF", "both", "COCO stuff JSON and pixel maps"),
    "coco_pixelmaps": Line(
        "coco_stuff:PIXELMAPS", "from", "COCO stuff pixel maps, values are category ids"
    ),
    "datumaro": Line("datumaro:DATUMARO", "from", "Datumaro's own JSON, as CVAT exports it too"),
    "coco_results": Line("coco_results:COCO_RESULTS", "to", "COCO results list"),
    "cityscapes": Line("cityscapes:CITYSCAPES", "both", "Cityscapes gtFine, labelIds"),
    "cityscapes_train_ids": Line("cityscapes:TRAIN_IDS", "from", "Cityscapes gtFine, trainIds"),
    "cityscapes_color": Line("cityscapes:COLOR", "from", "Cityscapes gtFine, colours"),
    "camvid": Line("camvid:CAMVID", "both", "CamVid folders and label_colors.txt"),
    "ade20k": Line("ade20k:ADE20K", "both", "ADE20K challenge, index masks"),
    "ade20k_full": Line("ade20k_full:ADE20K_FULL", "from", "ADE20K full set, _seg.png"),
    "ultralytics_semantic": Line(
        "ultralytics_semantic:ULTRALYTICS_SEMANTIC", "both", "Ultralytics semantic folders"
    ),
    "huggingface": Line("huggingface:FOLDER", "both", "Hugging Face imagefolder"),
    "huggingface_parquet": Line("huggingface_parquet:PARQUET", "both", "Hugging Face Parquet"),
    "tfrecord": Line("tfrecord:TFRECORD", "to", "TFRecord shards of TF DeepLab"),
    "masks": Line("mask_folder:MASKS", "from", "a folder of masks, each file's kind detected"),
    "masks_per_class": Line(
        "mask_folder:PER_CLASS", "both", "a folder with one binary mask per class"
    ),
    **{  # a folder of masks in one mask format
        name: Line("mask_folder:IN_MASK_FORMAT", "both", f"a folder of masks: {entry.description}")
        for name, entry in MASK_FORMATS.items()
    },
}


class FormatTable(Mapping[str, "DatasetFormat"]):
    """The formats by name. One is imported when it is asked for; names alone import nothing."""

    def __getitem__(self, name: str) -> "DatasetFormat":
        return _loaded(name)

    def __iter__(self) -> Iterator[str]:
        return iter(LINES)

    def __len__(self) -> int:
        return len(LINES)

    def __contains__(self, name: object) -> bool:
        return name in LINES


DATASET_FORMATS: Final = FormatTable()


def dataset_format(name: str) -> "DatasetFormat":
    """A format by name.

    Raises:
        SettingsError: no such format; the message lists them.
    """
    if name not in LINES:
        raise SettingsError(f"no format {name!r}; there are: {', '.join(LINES)}")
    return DATASET_FORMATS[name]


def readable_formats() -> list[str]:
    """Names for ``--from``."""
    return [name for name, line in LINES.items() if line.ways != "to"]


def writable_formats() -> list[str]:
    """Names for ``--to``."""
    return [name for name, line in LINES.items() if line.ways != "from"]


@cache
def _loaded(name: str) -> "DatasetFormat":
    line = LINES[name]
    found = resolve_name(f"maskmill.pipeline.datasets.formats.{line.target}")
    made: DatasetFormat = found[name] if isinstance(found, Mapping) else found
    return replace(made, name=name, summary=line.summary)
