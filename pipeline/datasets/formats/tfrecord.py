"""TFRecord shards as TF DeepLab's build_voc2012_data lays them out (write).

Features: image/encoded, image/filename, image/format, image/height, image/width, image/channels,
image/segmentation/class/encoded (PNG of indices without a palette) and …/format. The record
framing and the protocol buffers are the tfrecord package's.
"""

import posixpath
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from maskmill.pipeline.datasets.dataset_format import DatasetFormat
from maskmill.pipeline.datasets.samples import (
    DatasetWriter,
    FinishedSample,
    FinishedSamples,
    OutputFolder,
    Sample,
    Target,
    WriteContext,
    Written,
)
from maskmill.pipeline.masks.picture import index_png
from maskmill.schemas.errors import ErrorCode, MaskFailure

PARTS: Final = "parts/"
SHARD_SAMPLES: Final = 512
FORMATS: Final = {"jpg": "jpeg", "jpeg": "jpeg", "png": "png"}


def write(sample: Sample, target: Target, context: WriteContext) -> Written:
    """The picture and the raw mask, kept aside until shards are built.

    Raises:
        MaskFailure: more than 255 classes, or no picture in JPEG or PNG.
    """
    extension = posixpath.splitext(sample.key)[1].lstrip(".").lower()
    if len(sample.labels.classes) > 255:
        raise MaskFailure(ErrorCode.CANNOT_HOLD, "TF DeepLab reads masks of at most 255 classes")
    if sample.image is None or extension not in FORMATS:
        raise MaskFailure(
            ErrorCode.MISSING_IMAGE,
            f"{sample.key}: TF DeepLab's records hold the picture, as JPEG or PNG; "
            "give the folder of pictures with --images",
        )
    image_path = f"{PARTS}images/{target.stem}.{extension}"
    mask_path = f"{PARTS}masks/{target.stem}.png"
    record = {"image": image_path, "mask": mask_path, "format": FORMATS[extension]}
    return Written(files={mask_path: index_png(sample.mask)}, record=record, image_path=image_path)


def finish(samples: FinishedSamples, context: WriteContext, out: OutputFolder) -> None:
    """``<split>-00000-of-0000N.tfrecord`` of 512 samples each."""
    for split, chosen in samples.by_split("train"):
        for name, shard in chosen.shards(split, ".tfrecord", SHARD_SAMPLES):
            _write_shard(name, shard, out)


def _write_shard(name: str, shard: Iterable[FinishedSample], out: OutputFolder) -> None:
    from tfrecord import TFRecordWriter  # type: ignore[import-untyped]  # brings torch

    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder) / "shard"
        writer = TFRecordWriter(str(local))
        for sample in shard:
            writer.write(_features(sample, out))
        writer.close()
        with out.open(name) as stream, local.open("rb") as source:
            while piece := source.read(1 << 20):
                stream.write(piece)


def _features(sample: FinishedSample, out: OutputFolder) -> dict[str, tuple[Any, str]]:
    height, width = sample.size_hw
    return {
        "image/encoded": (out.read(sample.record["image"]), "byte"),
        "image/filename": (sample.stem.encode(), "byte"),
        "image/format": (sample.record["format"].encode(), "byte"),
        "image/height": (height, "int"),
        "image/width": (width, "int"),
        "image/channels": (3, "int"),
        "image/segmentation/class/encoded": (out.read(sample.record["mask"]), "byte"),
        "image/segmentation/class/format": (b"png", "byte"),
    }


TFRECORD = DatasetFormat(
    writer=DatasetWriter(write, finish), holds_ignore=True, max_classes=255, takes_images=True
)
