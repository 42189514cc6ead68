"""Writing and reading whole datasets in a test, without the engine."""

import contextlib
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from maskmill.pipeline.datasets.class_mapping import map_mask
from maskmill.pipeline.datasets.package_limits import PackageLimits
from maskmill.pipeline.datasets.proof import mapping_back
from maskmill.pipeline.datasets.registry import DATASET_FORMATS
from maskmill.pipeline.datasets.samples import (
    FinishedSample,
    FinishedSamples,
    ReadContext,
    ReadOptions,
    Sample,
    SampleItem,
    Target,
    WriteContext,
    Written,
)
from maskmill.pipeline.datasets.trees import FileTree, open_tree
from maskmill.pipeline.pictures.names import stem_of
from maskmill.schemas.labels import LabelMap


class FolderOutput:
    """An OutputFolder in a plain folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextlib.contextmanager
    def open(self, path: str) -> Iterator[BinaryIO]:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as stream:
            yield stream

    def read(self, path: str) -> bytes:
        return (self.root / path).read_bytes()


def write_dataset(
    samples: Sequence[Sample],
    root: Path,
    name: str,
    *,
    max_loss: float = 0.0,
    limits: PackageLimits | None = None,
    pictures: bool = False,
    split_of: Callable[[str], str] = lambda key: "",
) -> list[Written]:
    """Write ``samples`` (all of one label map) as format ``name`` into ``root``."""
    writer = DATASET_FORMATS[name].load_writer()
    context = WriteContext(
        labels=samples[0].labels, max_loss=max_loss, limits=limits or PackageLimits()
    )
    out, finished, results = FolderOutput(root), [], []
    for image_id, sample in enumerate(samples, 1):
        target = Target(image_id=image_id, stem=stem_of(sample.key), split=split_of(sample.key))
        written = writer.write(sample, target, context)
        for path, data in written.files.items():
            with out.open(path) as stream:
                stream.write(data)
        if pictures and written.image_path:
            with out.open(written.image_path) as stream:
                stream.write(picture_bytes(sample.size_hw))
        results.append(written)
        finished.append(
            FinishedSample(
                image_id=image_id,
                key=sample.key,
                stem=target.stem,
                split=target.split,
                size_hw=sample.size_hw,
                record=json.loads(json.dumps(written.record)),
                files=tuple(written.files),
            )
        )
    writer.finish(finished_samples(finished), context, out)
    return results


def finished_samples(samples: Sequence[FinishedSample]) -> FinishedSamples:
    """Committed samples that are there already."""
    return FinishedSamples(
        lambda splits: (one for one in samples if one.split in splits),
        Counter(one.split for one in samples),
    )


def read_dataset(
    source: Path | FileTree, name: str, labels: LabelMap | None = None
) -> list[Sample]:
    """Every sample of a dataset, through JSON payloads as the rows carry them."""
    tree = open_tree(str(source)) if isinstance(source, Path) else source
    reader = DATASET_FORMATS[name].load_reader()
    index = reader.index(tree, ReadOptions(labels=labels))
    context = ReadContext(
        tree=tree, labels=index.labels, extras=json.loads(json.dumps(index.extras))
    )
    found = []
    for item in sorted(index.items, key=lambda item: item.key):
        payload = json.loads(json.dumps(item.payload))
        found.append(
            reader.read(SampleItem(key=item.key, payload=payload, split=item.split), context)
        )
    return found


def masks_of(samples: Sequence[Sample], labels: LabelMap) -> dict[str, np.ndarray]:
    """Masks by key in the classes of ``labels``, matched by name."""
    return {
        sample.key: map_mask(sample.mask, sample.labels, mapping_back(sample.labels, labels))
        for sample in samples
    }


def picture_bytes(size_hw: tuple[int, int]) -> bytes:
    """A small PNG of that size."""
    stream = io.BytesIO()
    Image.new("RGB", (size_hw[1], size_hw[0]), (90, 120, 30)).save(stream, "PNG")
    return stream.getvalue()
