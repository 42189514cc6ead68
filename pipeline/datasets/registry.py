"""DATASET_FORMATS: every layout that can be read or written. To add one: a file and a line."""

from dataclasses import dataclass
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from maskmill.pipeline.masks.registry import MASK_FORMATS
from maskmill.schemas.errors import SettingsError

if TYPE_CHECKING:  # the hub brings Arrow; --help is not to wait for it
    from collections.abc import Iterator

    from maskmill.pipeline.datasets.samples import (
        DatasetReader,
        DatasetWriter,
    )
    from maskmill.pipeline.datasets.trees import FileTree


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetFormat:
    """One layout. ``reader`` and ``writer`` are ``module:ATTR`` below this package.

    ``exact``: every class pixel comes back as it was (with ``max_loss`` 0 for polygons);
    ``holds_ignore``: ignore pixels come back as ignore; ``needs_images``: reading needs the
    pictures, for their sizes; ``takes_images``: the output holds the pictures; ``max_classes``
    counts background; ``validator``: ``tree -> problems`` of its
    importer; ``mask_format``: a folder of masks in that format of MASK_FORMATS; ``checker``: a
    reader that decodes with the program of others named in ``checker_name``, for --check;
    ``import_command``: what stands before a document (of ``package_suffix``) to hand it to its
    program.
    """

    summary: str
    reader: str | None = None
    writer: str | None = None
    exact: bool = True
    holds_ignore: bool = False
    needs_images: bool = False
    polygons: bool = False
    max_classes: int = 65535
    mask_format: str | None = None
    takes_images: bool = False
    validator: str | None = None
    checker: str | None = None
    checker_name: str = ""
    import_command: str = ""
    package_suffix: str = ""

    @property
    def checked_by(self) -> str:
        """Whose decoders --check uses."""
        if self.checker:
            return self.checker_name
        return "own reader, drawn by pycocotools" if self.polygons else "own reader"

    @property
    def can_read(self) -> bool:
        """True for a choice of ``--from``."""
        return bool(self.reader or self.mask_format)

    @property
    def can_write(self) -> bool:
        """True for a choice of ``--to``."""
        return bool(self.writer or self.mask_format)

    def load_reader(self) -> "DatasetReader":
        """The reader; the format must have one."""
        if self.mask_format:
            return _load("formats.mask_folder:reader_of")(self.mask_format)  # type: ignore[no-any-return]
        reader: DatasetReader = _load(self.reader)
        return reader

    def load_checker(self) -> "DatasetReader":
        """The reader for --check."""
        return _load(self.checker) if self.checker else self.load_reader()

    def problems(self, tree: "FileTree") -> "Iterator[str]":
        """What the importing program would refuse in a written dataset, if that is known here."""
        return iter(()) if self.validator is None else _load(self.validator)(tree)

    def load_writer(self) -> "DatasetWriter":
        """The writer; the format must have one."""
        if self.mask_format:
            return _load("formats.mask_folder:writer_of")(self.mask_format)  # type: ignore[no-any-return]
        writer: DatasetWriter = _load(self.writer)
        return writer


# fmt: off
DATASET_FORMATS: dict[str, DatasetFormat] = {
    "coco": DatasetFormat(summary="COCO instances JSON, compressed RLE", reader="formats.coco:READER", checker="formats.coco:PYCOCOTOOLS_READER", checker_name="pycocotools", writer="formats.coco:WRITER"),  # noqa: E501
    "coco_uncompressed": DatasetFormat(summary="COCO instances JSON, RLE as lists", reader="formats.coco:READER", checker="formats.coco:PYCOCOTOOLS_READER", checker_name="pycocotools", writer="formats.coco:UNCOMPRESSED_WRITER"),  # noqa: E501
    "coco_polygons": DatasetFormat(summary="COCO instances JSON, polygons", reader="formats.coco:READER", checker="formats.coco:PYCOCOTOOLS_READER", checker_name="pycocotools", writer="formats.coco:POLYGON_WRITER", polygons=True),  # noqa: E501
    "panoptic": DatasetFormat(summary="COCO panoptic JSON and PNGs", reader="formats.panoptic:READER", writer="formats.panoptic:WRITER", holds_ignore=True),  # noqa: E501
    "panoptic_two_channels": DatasetFormat(summary="panoptic PNGs, class in R and instance in G", reader="formats.panoptic:TWO_CHANNEL_READER", holds_ignore=True, max_classes=256),  # noqa: E501
    "voc": DatasetFormat(summary="Pascal VOC segmentation", reader="formats.voc:READER", writer="formats.voc:WRITER", holds_ignore=True, max_classes=255),  # noqa: E501
    "cvat_mask": DatasetFormat(summary="CVAT 'Segmentation mask 1.1' zip", import_command='cvat-cli task import-dataset --format "Segmentation mask 1.1" TASK_ID ', package_suffix=".zip", reader="formats.cvat_mask:READER", writer="formats.cvat_mask:WRITER", validator="documents.cvat_validator:validate", max_classes=254),  # noqa: E501
    "cvat_images": DatasetFormat(summary="CVAT for images 1.1 XML, mask shapes", import_command='cvat-cli task import-dataset --format "CVAT 1.1" TASK_ID ', package_suffix=".xml", reader="formats.cvat_images:READER", writer="formats.cvat_images:WRITER"),  # noqa: E501
    "cvat_images_polygons": DatasetFormat(summary="CVAT for images 1.1 XML, polygons", import_command='cvat-cli task import-dataset --format "CVAT 1.1" TASK_ID ', package_suffix=".xml", reader="formats.cvat_images:READER", writer="formats.cvat_images:POLYGON_WRITER", polygons=True),  # noqa: E501
    "label_studio": DatasetFormat(summary="Label Studio predictions, brush masks", import_command='curl -H "Authorization: Token $TOKEN" "$LABEL_STUDIO/api/projects/PROJECT_ID/import" -F file=@', package_suffix=".json", reader="formats.label_studio:READER", writer="formats.label_studio:WRITER"),  # noqa: E501
    "label_studio_polygons": DatasetFormat(summary="Label Studio predictions, polygons", import_command='curl -H "Authorization: Token $TOKEN" "$LABEL_STUDIO/api/projects/PROJECT_ID/import" -F file=@', package_suffix=".json", reader="formats.label_studio:READER", writer="formats.label_studio:POLYGON_WRITER", polygons=True),  # noqa: E501
    "labelme": DatasetFormat(summary="labelme JSON, mask shapes", reader="formats.labelme:READER", writer="formats.labelme:WRITER", holds_ignore=True),  # noqa: E501
    "labelme_polygons": DatasetFormat(summary="labelme JSON, polygons", reader="formats.labelme:READER", writer="formats.labelme:POLYGON_WRITER", holds_ignore=True, polygons=True),  # noqa: E501
    "supervisely": DatasetFormat(summary="Supervisely project, bitmaps", reader="formats.supervisely:READER", writer="formats.supervisely:WRITER"),  # noqa: E501
    "yolo": DatasetFormat(summary="YOLO segmentation text files", reader="formats.yolo:READER", writer="formats.yolo:WRITER", needs_images=True, polygons=True),  # noqa: E501
    "coco_stuff": DatasetFormat(summary="COCO stuff JSON and pixel maps", reader="formats.coco_stuff:READER", checker="formats.coco:PYCOCOTOOLS_READER", checker_name="pycocotools", writer="formats.coco_stuff:WRITER"),  # noqa: E501
    "coco_pixelmaps": DatasetFormat(summary="COCO stuff pixel maps, values are category ids", reader="formats.coco_stuff:PIXELMAP_READER", max_classes=256),  # noqa: E501
    "coco_results": DatasetFormat(summary="COCO results list", writer="formats.coco_results:WRITER"),  # noqa: E501
    "cityscapes": DatasetFormat(summary="Cityscapes gtFine, labelIds", reader="formats.cityscapes:READER", writer="formats.cityscapes:WRITER", holds_ignore=True, max_classes=255),  # noqa: E501
    "cityscapes_train_ids": DatasetFormat(summary="Cityscapes gtFine, trainIds", reader="formats.cityscapes:TRAIN_ID_READER", holds_ignore=True, max_classes=255),  # noqa: E501
    "cityscapes_color": DatasetFormat(summary="Cityscapes gtFine, colours", reader="formats.cityscapes:COLOR_READER", holds_ignore=True, max_classes=255),  # noqa: E501
    "camvid": DatasetFormat(summary="CamVid folders and label_colors.txt", reader="formats.camvid:READER", writer="formats.camvid:WRITER", max_classes=254),  # noqa: E501
    "ade20k": DatasetFormat(summary="ADE20K challenge, index masks", reader="formats.ade20k:READER", writer="formats.ade20k:WRITER", holds_ignore=True),  # noqa: E501
    "ade20k_full": DatasetFormat(summary="ADE20K full set, _seg.png", reader="formats.ade20k_full:READER"),  # noqa: E501
    "ultralytics_semantic": DatasetFormat(summary="Ultralytics semantic folders", reader="formats.ultralytics_semantic:READER", writer="formats.ultralytics_semantic:WRITER", holds_ignore=True, max_classes=255),  # noqa: E501
    "huggingface": DatasetFormat(summary="Hugging Face imagefolder", reader="formats.huggingface:FOLDER_READER", writer="formats.huggingface:FOLDER_WRITER", holds_ignore=True, takes_images=True),  # noqa: E501
    "huggingface_parquet": DatasetFormat(summary="Hugging Face Parquet", reader="formats.huggingface:PARQUET_READER", writer="formats.huggingface:PARQUET_WRITER", holds_ignore=True, takes_images=True),  # noqa: E501
    "tfrecord": DatasetFormat(summary="TFRecord shards of TF DeepLab", writer="formats.tfrecord:WRITER", holds_ignore=True, max_classes=255, takes_images=True),  # noqa: E501
    "prelabel": DatasetFormat(summary="a finished run of maskmill prelabel", reader="formats.prelabel_run:READER", holds_ignore=True),  # noqa: E501
    "masks": DatasetFormat(summary="a folder of masks, each file's kind detected", reader="formats.mask_folder:AUTO_READER", holds_ignore=True),  # noqa: E501
    "masks_per_class": DatasetFormat(summary="a folder with one binary mask per class", reader="formats.mask_folder:PER_CLASS_READER", writer="formats.mask_folder:PER_CLASS_WRITER"),  # noqa: E501
}
# fmt: on

for _name, _entry in MASK_FORMATS.items():  # a folder of masks in one mask format
    DATASET_FORMATS[_name] = DatasetFormat(
        summary=f"a folder of masks: {_entry.description}",
        mask_format=_name,
        holds_ignore=_entry.holds_ignore,
        max_classes=_entry.max_classes,
    )


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
    return [name for name, entry in DATASET_FORMATS.items() if entry.can_read]


def writable_formats() -> list[str]:
    """Names for ``--to``."""
    return [name for name, entry in DATASET_FORMATS.items() if entry.can_write]


def _load(reference: str | None) -> Any:
    if reference is None:
        raise SettingsError("this format cannot be used in that direction")
    return resolve_name(f"maskmill.pipeline.datasets.{reference}")
