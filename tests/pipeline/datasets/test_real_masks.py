"""Real masks and scenes through every format and back: nothing but ignore may go."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskmill.pipeline.datasets.proof import compare
from maskmill.pipeline.datasets.registry import DATASET_FORMATS
from maskmill.pipeline.datasets.samples import Sample
from maskmill.pipeline.pictures.names import stem_of
from maskmill.schemas.labels import builtin
from tests.pipeline.datasets.dataset_runs import read_dataset, write_dataset

LOSSLESS = [
    name for name, entry in DATASET_FORMATS.items()
    if entry.can_read and entry.can_write and entry.max_classes >= 254
]  # fmt: skip


@pytest.mark.parametrize("name", LOSSLESS)
def test_real_masks_survive_every_format(shared: Path, tmp_path: Path, name: str) -> None:
    """Real VOC masks with their void, through the format and back: nothing but ignore may go."""
    folder = shared / "data/voc_masks_500"
    samples = []
    for path in sorted(folder.glob("*.png"))[:200:40]:
        mask = np.array(Image.open(path))
        if not DATASET_FORMATS[name].holds_ignore:
            mask[mask == 255] = 0
        samples.append(Sample(key=f"{path.stem}.jpg", mask=mask, labels=builtin("voc"), image="x"))
    write_dataset(samples, tmp_path, name, pictures=True)
    archives = sorted(tmp_path.glob("*.zip"))
    back = {
        stem_of(one.key): one for one in read_dataset(archives[0] if archives else tmp_path, name)
    }
    assert len(back) == 5
    for sample in samples:
        difference = compare(sample, back[stem_of(sample.key)])
        assert difference.is_lossless, difference.where


@pytest.mark.parametrize("name", LOSSLESS)
def test_real_scenes_survive_every_format(shared: Path, tmp_path: Path, name: str) -> None:
    """A part of COCO's panoptic scenes: 133 classes, crowds of objects, void between them."""
    folder = shared / "data/coco_panoptic/sample_data"
    samples = []
    for whole in read_dataset(folder / "panoptic_examples.json", "panoptic"):
        mask, objects = whole.mask[90:250, 60:260].copy(), whole.objects[90:250, 60:260]
        if not DATASET_FORMATS[name].holds_ignore:
            mask[mask == whole.labels.ignore_index] = 0
        samples.append(replace(whole, mask=mask, objects=objects, image="x"))
    write_dataset(samples, tmp_path, name, pictures=True)
    archives = sorted(tmp_path.glob("*.zip"))
    found = {
        stem_of(one.key): one for one in read_dataset(archives[0] if archives else tmp_path, name)
    }
    for sample in samples:
        difference = compare(sample, found[stem_of(sample.key)])
        assert difference.is_lossless, difference.where
