"""Famous sets, by the names of their files and folders together with their values.

Neither alone is enough: VOC's colormap is what half of all tools paint with, and any set of a few
classes has the values of any other. Facts: the sets' own pages and development kits.
"""

import re
from dataclasses import dataclass
from functools import cache
from typing import Final

from maskmill.pipeline.datasets.formats.camvid import CAMVID_FRAME
from maskmill.pipeline.datasets.formats.voc import VOC_ID
from maskmill.pipeline.inspect.evidence import Convention, SetCensus
from maskmill.schemas.labels import VOID_COLOR, Color, builtin


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownSet:
    """A set: ``files`` finds every mask's path, ``values`` or the map's colours hold every pixel.

    ``colors`` is another map whose colours may occur; ``needed`` values must occur; ``layout`` is a
    ``--from`` that takes the whole set, used where the tree is recognised as it, else ``format``.
    """

    name: str
    files: str
    labels: str
    values: frozenset[int] = frozenset()  # none: by colours
    needed: frozenset[int] = frozenset()
    colors: str = ""
    palette: str = ""
    format: str = "indexed"
    layout: str = ""
    unknown: str = ""
    why: str

    def fits(self, whole: SetCensus) -> bool:
        """True where names and pixels both are the set's."""
        if not all(map(re.compile(self.files).search, whole.paths)):
            return False
        if not self.values:
            known = colors_of(self.colors or self.labels)
            return bool(whole.colors) and not whole.values and whole.colors <= known
        has_palette = not self.palette or whole.palettes == {self.palette}
        return (
            bool(whole.values - {0, 255})
            and not whole.colors
            and has_palette
            and self.needed <= whole.values <= self.values
        )

    def convention(self, whole: SetCensus) -> Convention:
        """The guess that masks are of this set."""
        reads = self.layout if self.layout and whole.lies_in(self.layout) else self.format
        return Convention(self.name, reads, self.labels, self.why, self.unknown)


@dataclass(frozen=True, slots=True)
class NoClasses:
    """Masks whose values are no classes: ``files`` finds them all, ``modes`` is theirs ('' any)."""

    name: str
    files: str
    why: str
    modes: str = ""

    def fits(self, whole: SetCensus) -> bool:
        """True where every mask is named so and stored so."""
        is_stored_so = not self.modes or set(whole.modes) <= set(self.modes.split())
        return is_stored_so and all(map(re.compile(self.files).search, whole.paths))


_IDS: Final = frozenset({*range(34), 255})
_TRAIN_IDS: Final = frozenset({*range(19), 255})

KNOWN_SETS: Final = (
    KnownSet(
        name="voc",
        files=rf"^(?!.*(?:Context|Object)).*/{VOC_ID}(?:_[a-z_]+)?\.png$",
        labels="voc",
        values=frozenset({*range(21), 255}),
        needed=frozenset({0, 255}),
        palette="voc",
        format="palette",
        layout="voc",
        why="files called as VOC's, palette PNGs in its colours, indices 0 to 20 and 255",
    ),
    KnownSet(
        name="voc colours",
        files=rf"^(?!.*(?:Context|Object)).*/{VOC_ID}(?:_[a-z_]+)?\.png$",
        labels="voc",
        format="color",
        why="files called as VOC's, every colour is one of its",
    ),
    KnownSet(
        name="cityscapes labelIds",
        files=r"_gt(?:Fine|Coarse)_labelIds\.png$",
        labels="cityscapes_labelids",
        values=_IDS,
        layout="cityscapes",
        why="files called as Cityscapes' labelIds, values 0 to 33",
    ),
    KnownSet(
        name="cityscapes trainIds",
        files=r"_gt(?:Fine|Coarse)_labelTrainIds\.png$",
        labels="cityscapes",
        values=_TRAIN_IDS,
        layout="cityscapes_train_ids",
        why="files called as Cityscapes' labelTrainIds, values 0 to 18 and 255",
    ),
    KnownSet(
        name="cityscapes colours",
        files=r"_gt(?:Fine|Coarse)_color\.png$",
        labels="cityscapes",
        colors="cityscapes_labelids",
        format="color",
        layout="cityscapes_color",
        unknown="ignore",
        why="files called as Cityscapes' colours; those that no trainId has are ignore",
    ),
    KnownSet(
        name="kitti semantic",
        files=r"/semantic/\d{6}_\d\d\.png$",
        labels="cityscapes_labelids",
        values=_IDS,
        why="folder semantic/ and frames called as KITTI's, whose values are Cityscapes' labelIds",
    ),
    KnownSet(
        name="bdd100k trainIds",
        files=r"_train_id\.png$|/sem_seg/masks/.*[0-9a-f]{8}-[0-9a-f]{8}\.png$",
        labels="cityscapes",
        values=_TRAIN_IDS,
        why="files called as BDD100K's, whose 19 classes are Cityscapes'",
    ),
    KnownSet(
        name="bdd100k colours",
        files=r"_train_color\.png$|/sem_seg/colormaps/.*[0-9a-f]{8}-[0-9a-f]{8}\.png$",
        labels="cityscapes",
        format="color",
        unknown="ignore",
        why="files called as BDD100K's in Cityscapes' colours; black is ignore",
    ),
    KnownSet(
        name="ade20k",
        files=r"/ADE_(?:train|val|test)_\d{8}\.png$",
        labels="ade20k",
        values=frozenset(range(151)),
        layout="ade20k",
        why="files called as ADE20K's, values 0 to 150",
    ),
    KnownSet(
        name="ade20k colours",
        files=r"/ADE_(?:train|val|test)_\d{8}\.png$",
        labels="ade20k",
        format="color",
        why="files called as ADE20K's, every colour is one of its",
    ),
    KnownSet(
        name="camvid",
        files=rf"/{CAMVID_FRAME}_L\.png$",
        labels="camvid",
        format="color",
        why="files called as CamVid's, every colour is one of its 32",
    ),
    KnownSet(
        name="camvid of SegNet",
        files=rf"/(?:train|val|test)annot/{CAMVID_FRAME}\.png$",
        labels="camvid11",
        values=frozenset(range(12)),
        layout="camvid",
        unknown="ignore",
        why="folders and files called as SegNet's CamVid: 11 classes, and 11 for the unlabelled",
    ),
    KnownSet(
        name="lfw parts",
        files=r"/[A-Z][\w.-]*_\d{4}\.ppm$",
        labels="lfw_parts",
        format="ppm",
        why="PPMs called as LFW Parts', every colour is one of its three",
    ),
)
"""Sets that a built-in label map names."""

WHOLE_VISTAS: Final = "mapillary vistas"
VISTAS_LABELS: Final = re.compile(r"/(v\d\.\d)/labels/[\w-]{22}\.png$")

NO_CLASSES: Final = (
    NoClasses(
        "cityscapes instance ids",
        r"_gt(?:Fine|Coarse)_instanceIds\.png$",
        "values are id * 1000 + number of the object; take *_labelIds.png or *_labelTrainIds.png",
    ),
    NoClasses(
        "cityscapes instance trainIds",
        r"_gt(?:Fine|Coarse)_instanceTrainIds\.png$",
        "values number objects; take *_labelIds.png or *_labelTrainIds.png",
    ),
    NoClasses(
        "kitti instance ids",
        r"/instance/\d{6}_\d\d\.png$",
        "values are id * 256 + number of the object; take the masks of semantic/",
    ),
    NoClasses(
        "mapillary vistas instances",
        r"/v\d\.\d/(?:instances|panoptic)/[\w-]{22}\.png$",
        "values number objects of classes; take the masks of labels/",
    ),
    NoClasses(
        "bdd100k bitmasks",
        r"/bitmasks/",
        "R is the class, G are flags, B and A number the object; take the masks of sem_seg/masks/, "
        "or convert them to COCO with bdd100k's own program",
        "RGBA",
    ),
    NoClasses(
        "voc object masks",
        rf"/SegmentationObject(?:PNG)?/.*{VOC_ID}\.png$",
        "values number objects; take the masks of SegmentationClass/",
    ),
    NoClasses(
        "davis",
        r"/Annotations(?:_unsupervised)?/(?:480p|1080p|Full-Resolution)/[^/]+/\d{5}\.png$",
        "values number the objects of each video, they are no classes",
    ),
    NoClasses(
        "open images masks",
        r"/[0-9a-f]{16}_m0?[0-9a-z_]+_[0-9a-f]{8}\.png$",
        "one file per object, its class in the file's name (and in the .csv): not read here; make "
        "COCO of them first",
    ),
    NoClasses(
        "segments.ai instance bitmaps",
        r"_label_[\w-]+_instance(?:_colored)?\.png$",
        "values number objects; export semantic bitmaps there",
    ),
    NoClasses(
        "segments.ai bitmaps",
        r"_label_[\w-]+\.png$",
        "R, G and B number objects; export semantic bitmaps there",
        "RGBA",
    ),
)
"""Masks that cannot be read as classes, whatever label map is given."""


def known_set(whole: SetCensus) -> Convention | None:
    """The famous set whose names and values these masks have, unless a list names their classes."""
    if whole.listed is not None:
        return None
    return next((one.convention(whole) for one in KNOWN_SETS if one.fits(whole)), None)


def no_classes(whole: SetCensus) -> Convention | None:
    """The kind of masks without classes that these are."""
    found = next((one for one in NO_CLASSES if one.fits(whole)), None)
    return None if found is None else Convention(found.name, "", "", found.why)


def several_versions(whole: SetCensus) -> Convention | None:
    """A whole release of Mapillary Vistas: two labellings, each with classes of its own."""
    found = (VISTAS_LABELS.search(path) for path in whole.paths)
    versions = sorted({match.group(1) for match in found if match})
    if len(versions) < 2:
        return None
    told = " and ".join(versions)
    why = f"masks of {told}, each with classes of its own: inspect the labels/ of one of them"
    return Convention(WHOLE_VISTAS, "", "", why)


@cache
def colors_of(name: str) -> frozenset[Color]:
    """The colours of a built-in label map, with void and black."""
    return frozenset({entry.color for entry in builtin(name).classes} | {VOID_COLOR, (0, 0, 0)})
