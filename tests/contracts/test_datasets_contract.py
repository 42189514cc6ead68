"""Every dataset format keeps its promise: what it says it holds comes back, by any route."""

import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maskmill.pipeline.datasets.class_mapping import map_mask
from maskmill.pipeline.datasets.proof import compare, mapping_back
from maskmill.pipeline.datasets.recognition import recognitions
from maskmill.pipeline.datasets.registry import (
    DATASET_FORMATS,
    LINES,
    dataset_format,
    readable_formats,
    writable_formats,
)
from maskmill.pipeline.datasets.samples import Sample
from maskmill.pipeline.datasets.trees import open_tree
from maskmill.pipeline.pictures.names import stem_of
from maskmill.schemas.errors import SettingsError
from maskmill.schemas.labels import LabelMap
from tests.pipeline.datasets.dataset_runs import read_dataset, write_dataset

NAMES = ["background", "cat", "ein Hündchen", "traffic light", "z.b", "猫"]
LABELS = LabelMap.from_names("contract", NAMES)
KEYS = ["a.jpg", "sub/b c.png", "ü/x.y.jpg", "dots.1.jpg", "dots.2.jpg", "nested/deep/e.jpeg"]
READ_WRITE = [name for name in readable_formats() if name in writable_formats()]
MULTI_CLASS = [name for name in READ_WRITE if DATASET_FORMATS[name].max_classes > 2]


def ring(size: int) -> np.ndarray:
    """A ring, a hole with an island, a diagonal pair, single pixels at the border."""
    mask = np.zeros((size, size + 3), np.uint8)
    mask[1:6, 1:6] = 1
    mask[2:5, 2:5] = 0
    mask[3, 3] = 2
    mask[7, 7] = mask[8, 8] = 3
    mask[0, 0] = mask[-1, -1] = 4
    mask[size // 2 :, 0] = 5
    return mask


@st.composite
def masks(draw: st.DrawFn, classes: int, ignore: bool) -> np.ndarray:
    """Masks of noise, blocks and single pixels: holes, parts and touching corners come of it."""
    height, width = draw(st.integers(1, 17)), draw(st.integers(1, 17))
    seed = draw(st.integers(0, 2**32 - 1))
    generator = np.random.default_rng(seed)
    block = draw(st.integers(1, 4))
    coarse = generator.integers(0, classes, (-(-height // block), -(-width // block)))
    mask = coarse.repeat(block, 0).repeat(block, 1)[:height, :width].astype(np.uint8)
    if ignore:
        mask[generator.random(mask.shape) < 0.1] = 255
    return mask


def samples_of(arrays: list[np.ndarray], labels: LabelMap = LABELS) -> list[Sample]:
    return [
        Sample(key=key, mask=mask, labels=labels, image=key)
        for key, mask in zip(KEYS, arrays, strict=False)
    ]


def round_trip(samples: list[Sample], name: str) -> dict[str, Sample]:
    """What a format gives back, by key without extension."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_dataset(samples, root, name, pictures=True)
        archives = sorted(root.glob("*.zip"))
        return {
            stem_of(sample.key): sample
            for sample in read_dataset(archives[0] if archives else root, name)
        }


def assert_same(samples: list[Sample], found: dict[str, Sample]) -> None:
    assert sorted(found) == sorted(stem_of(sample.key) for sample in samples)
    for sample in samples:
        difference = compare(sample, found[stem_of(sample.key)])
        assert difference.is_lossless, difference.where


@pytest.mark.parametrize("name", MULTI_CLASS)
def test_exact_formats_give_back_every_pixel_and_every_key(name: str) -> None:
    entry = DATASET_FORMATS[name]
    arrays = [ring(9 + number) for number in range(len(KEYS))]
    arrays[-1][:] = 0  # nothing but background
    if entry.holds_ignore:
        arrays[0][2, :] = 255
    samples = samples_of(arrays)
    assert_same(samples, round_trip(samples, name))


@pytest.mark.parametrize("name", MULTI_CLASS)
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_mask_survives(name: str, data: st.DataObject) -> None:
    ignore = DATASET_FORMATS[name].holds_ignore
    arrays = data.draw(st.lists(masks(len(NAMES), ignore), min_size=1, max_size=3))
    samples = samples_of(arrays)
    assert_same(samples, round_trip(samples, name))


MEETING_POINTS = ("coco", "panoptic", "ade20k", "supervisely")
"""Targets that use all a sample can tell: its objects, its background, its names."""


def test_what_any_format_gives_any_other_can_take() -> None:
    """Formats meet only in Sample, so their round trips prove every pair.

    What could still differ is a sample as a reader makes it, with objects, scores and the format's
    own label map, instead of the plain one of these tests: so each is written once more.
    """
    broken = []
    for source in MULTI_CLASS:
        samples = samples_of([ring(9), ring(11)])
        middle = came_through(samples, source)
        for target in MEETING_POINTS:
            for key, one in round_trip(middle, target).items():
                first = next(sample for sample in samples if stem_of(sample.key) == key)
                if not compare(first, renamed(one, middle[0].labels)).is_lossless:
                    broken.append(f"{source} to {target}: {key}")
    assert broken == []


def renamed(sample: Sample, labels: LabelMap) -> Sample:
    """The sample in the classes of ``labels``: underscores are blanks again."""
    mapping = mapping_back(sample.labels, labels)
    return replace(sample, mask=map_mask(sample.mask, sample.labels, mapping), labels=labels)


class_names = st.lists(
    st.text("ab .:<&\"'ü猫", min_size=1, max_size=7)
    .map(str.strip)
    .filter(lambda name: name not in ("", ".", "..")),
    min_size=1,
    max_size=5,
    unique_by=lambda name: name.replace(" ", "_"),
)
NO_COLONS = ("voc", "cvat_mask")  # labelmap.txt has colons between its fields


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_pair_holds_any_mask_under_any_names(data: st.DataObject) -> None:
    """Blanks, dots, colons, quotes and letters of every script; what cannot be held is refused."""
    source, target = data.draw(st.tuples(*[st.sampled_from(MULTI_CLASS)] * 2))
    names = data.draw(class_names)
    labels = LabelMap.from_names("drawn", ["background", *names])
    ignore = DATASET_FORMATS[source].holds_ignore and DATASET_FORMATS[target].holds_ignore
    samples = samples_of([data.draw(masks(len(names) + 1, ignore))], labels)
    if any(":" in name for name in names) and {source, target} & set(NO_COLONS):
        with pytest.raises(SettingsError, match=r"labelmap\.txt"):
            round_trip(came_through(samples, source), target)
        return
    moved = came_through(samples, source)
    assert_same(moved, round_trip(moved, target))


def came_through(samples: list[Sample], name: str) -> list[Sample]:
    """What a format gives back: the same masks, in its own words (ADE20K's background is other)."""
    middle = round_trip(samples, name)
    assert_same(samples, middle)
    return [replace(middle[stem_of(one.key)], key=one.key, image=one.key) for one in samples]


@pytest.mark.parametrize(
    "name", [name for name in MULTI_CLASS if DATASET_FORMATS[name].max_classes > 300]
)
def test_three_hundred_classes(name: str) -> None:
    colors = [(index % 256, index // 256, 7) for index in range(300)]
    labels = LabelMap.from_names(
        "many", ["background", *(f"class {n}" for n in range(1, 300))], colors=colors
    )
    mask = np.arange(300, dtype=np.uint16).reshape(15, 20).repeat(2, 0)
    samples = samples_of([mask], labels)
    assert_same(samples, round_trip(samples, name))


@pytest.mark.parametrize(
    "name", [name for name in MULTI_CLASS if DATASET_FORMATS[name].holds_ignore]
)
def test_ignore_in_a_map_of_two_classes_is_not_taken_for_a_binary_mask(name: str) -> None:
    """The file holds 0 and 255 only: in these formats 255 is ignore by definition."""
    labels = LabelMap.from_names("two", ["background", "cat"])
    samples = samples_of([np.array([[0, 0], [0, 255]], np.uint8)], labels)
    assert_same(samples, round_trip(samples, name))


@pytest.mark.parametrize("name", MULTI_CLASS)
def test_label_maps_without_background(name: str) -> None:
    """Pixels of no class are ignore then, and come back as ignore."""
    labels = LabelMap.from_names(
        "none", ["road", "car"], colors=[(128, 64, 128), (0, 0, 142)], background=None
    )
    mask = np.array([[0, 0, 1], [1, 0, 255], [255, 255, 0]], np.uint8)
    if name in ("masks_per_class",):
        mask[mask == 255] = 0  # says so itself: one file per class has no ignore
    samples = samples_of([mask], labels)
    assert_same(samples, round_trip(samples, name))


@pytest.mark.parametrize(
    "name", [name for name in MULTI_CLASS if not DATASET_FORMATS[name].holds_ignore]
)
def test_formats_without_ignore_lose_ignore_and_nothing_else(name: str) -> None:
    if name == "masks_per_class":
        pytest.skip("refuses ignore with a typed failure; see its own test")
    mask = ring(9)
    mask[4, :] = 255
    sample = samples_of([mask])[0]
    found = round_trip([sample], name)[stem_of(sample.key)]
    difference = compare(sample, found)
    assert difference.ignore_lost == np.count_nonzero(mask == 255)
    assert difference.differing == 0


def test_lines_of_the_table_say_what_the_formats_are() -> None:
    wrong = []
    for name, line in LINES.items():
        entry = dataset_format(name)
        ways = {(True, False): "from", (False, True): "to", (True, True): "both"}
        if line.ways != ways.get((entry.can_read, entry.can_write)):
            wrong.append(f"{name}: {line.ways}")
        if not line.summary or (entry.name, entry.summary) != (name, line.summary):
            wrong.append(f"{name}: {entry.name}, {entry.summary!r}")
        if entry.checker and not entry.checker_name:
            wrong.append(f"{name}: a checker of nobody")
    assert wrong == []


def test_names_alone_import_no_format() -> None:
    """--help and the choices of --from wait for nothing heavy."""
    code = (
        "import sys\n"
        "from maskmill.pipeline.datasets.registry import readable_formats, writable_formats\n"
        "readable_formats(), writable_formats()\n"
        "print([name for name in sys.modules if name.startswith("
        "('maskmill.pipeline.datasets.formats', 'pyarrow', 'torch', 'cv2'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


RECOGNISED_AS = {
    "coco_uncompressed": "coco", "coco_polygons": "coco", "coco_stuff": "coco",
    "cvat_images_polygons": "cvat_images", "label_studio_polygons": "label_studio",
    "labelme_polygons": "labelme", "masks_per_class": "masks",
    **{name: "masks" for name, entry in DATASET_FORMATS.items() if entry.mask_format},
    "voc": "cvat_mask",  # its labelmap.txt is CVAT's; the two have one reader
}  # fmt: skip
"""Formats that look like another one, whose reader reads them as well."""


def test_each_format_is_recognised_for_what_it_is(tmp_path: Path) -> None:
    """What was written is known again, as a folder, and told with a reason."""
    wrong = []
    for name in MULTI_CLASS:
        samples = samples_of([ring(9), ring(11)])
        write_dataset(samples, tmp_path / name, name, pictures=True)
        archives = sorted((tmp_path / name).glob("*.zip"))
        found = list(recognitions(open_tree(str(archives[0] if archives else tmp_path / name))))
        formats = [one.format for one in found if one.reason]
        if formats != [RECOGNISED_AS.get(name, name)]:
            wrong.append(f"{name}: {found}")
    assert wrong == []
