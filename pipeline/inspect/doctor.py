"""The mask doctor: which files are masks, their census, the diagnosis, what to run next."""

import posixpath
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from maskmill.pipeline.audit.pairing import SUFFIXES
from maskmill.pipeline.datasets.picture_sizes import picture_beside, picture_size
from maskmill.pipeline.datasets.recognition import recognise, recognitions
from maskmill.pipeline.datasets.trees import FileTree, exists, open_tree
from maskmill.pipeline.inspect.census import FileCensus, census_of
from maskmill.pipeline.inspect.conventions import Convention, label_map_of, likely_convention
from maskmill.pipeline.inspect.sickness import Finding, findings_of, sick
from maskmill.pipeline.pictures.names import LOSSY_EXTENSIONS, MASK_EXTENSIONS
from maskmill.schemas.errors import FileFailure, SettingsError
from maskmill.schemas.labels import LabelMap

PICTURE_FOLDERS: Final = (
    "JPEGImages/", "images/", "img/", "leftImg8bit/", "overlays/", "input_images/",
)  # fmt: skip
OTHER_FOLDERS: Final = ("SegmentationObject/", "report/", "predictions/")
OTHER_SUFFIXES: Final = ("_instanceIds.png", "_color.png", "_instanceTrainIds.png")
MOST_VALUES: Final = 40
LAYOUTS: Final = ("voc", "panoptic", "cityscapes", "ade20k")

Censuses = Callable[[Sequence[str]], Iterable[FileCensus]]
"""Mask names -> their census, in the same order; the caller decides how many processes work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What was found in a set of masks."""

    path: str
    files: tuple[FileCensus, ...]
    convention: Convention
    labels: LabelMap | None
    findings: tuple[Finding, ...]
    source: str = ""  # what to convert: PATH, or where in it the masks are

    @property
    def is_sick(self) -> bool:
        """True where anything ends in exit 3."""
        return bool(sick(self.findings))

    def kinds(self) -> dict[str, int]:
        """Findings by kind, most frequent first."""
        return dict(Counter(finding.kind for finding in self.findings).most_common())

    def next_step(self) -> str:
        """The command that most likely comes next."""
        path = shlex.quote(self.source or self.path)
        if self.convention.name == "unknown" or not self.files:
            return f"maskmill inspect {path} --labels FILE"
        labels = ""
        needs_labels = self.convention.format not in LAYOUTS
        if needs_labels:
            name = self.labels.name if self.labels is not None else ""
            labels = f" --labels {shlex.quote(self.convention.labels or name or 'FILE')}"
        if self.convention.name == "binary 0/255" and self.labels is None:
            labels = " --labels person"
        return (
            f"maskmill convert {path} OUT --from {self.convention.format} --to coco{labels} --check"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for --json."""
        return {
            "path": self.path,
            "files": len(self.files),
            "sick": self.is_sick,
            "convention": {
                "name": self.convention.name,
                "from": self.convention.format,
                "labels": self.convention.labels,
                "reason": self.convention.reason,
            },
            "next": self.next_step(),
            "modes": dict(Counter(file.mode or "unreadable" for file in self.files).most_common()),
            "palettes": dict(Counter(file.palette for file in self.files if file.palette)),
            "values": self.shares(),
            "findings": [
                {
                    "kind": one.kind,
                    "severity": one.severity,
                    "file": one.file,
                    "sentence": one.sentence,
                }
                for one in self.findings
            ],
        }

    def shares(self) -> list[dict[str, Any]]:
        """The most frequent values or colours: pixels, share, files, name of the class."""
        pixels: Counter[Any] = Counter()
        files: Counter[Any] = Counter()
        for file in self.files:
            counts: Mapping[Any, int] = file.colors or file.values
            pixels.update(counts)
            files.update(counts.keys())
        total = sum(file.num_pixels for file in self.files) or 1
        return [
            {
                "value": list(value) if isinstance(value, tuple) else value,
                "pixels": count,
                "share": count / total,
                "files": files[value],
                "class": _class_name(value, self.labels),
            }
            for value, count in pixels.most_common(MOST_VALUES)
        ]


def inspect_masks(
    path: str, censuses: Censuses, *, labels: LabelMap | None = None, images: str | None = None
) -> Inspection:
    """Census, convention and findings of the masks at ``path``.

    Raises:
        SettingsError: nothing there, or no mask among the files.
        ArchiveFailure: an archive that is damaged or unsafe.
    """
    tree = open_tree(path)
    names = mask_names(tree)
    if not names:
        raise SettingsError(f"{path} holds no mask; {_what_it_is(path, tree)}")
    every = tuple(censuses(names))
    files = tuple(file for file in every if not file.is_photograph)
    photographs = [file.name for file in every if file.is_photograph]
    if not files:
        raise SettingsError(f"{path} holds no mask, only photographs: {', '.join(photographs[:3])}")
    is_tree = tree.selected is None
    layouts = recognitions(tree) if is_tree else ()
    convention = likely_convention(files, tree.names() if is_tree else names, layouts)
    known = labels or label_map_of(convention)
    sizes = picture_sizes(
        [file.name for file in files], tree, open_tree(images) if images else None
    )
    findings = findings_of(files, convention, known, sizes)
    if photographs:
        shown = ", ".join(photographs[:3])
        sentence = f"photographs, no masks, left out ({len(photographs)}): {shown}"
        if _share_a_folder(photographs, files):
            sentence += "; put the masks in a folder of their own before you convert them"
        findings.append(Finding("photographs", "odd", "", sentence))
    return Inspection(
        path=path,
        files=files,
        convention=convention,
        labels=known,
        findings=tuple(findings),
        source=_source_of(path, tree, files, convention),
    )


def _what_it_is(path: str, tree: FileTree) -> str:
    """For a tree without masks: the dataset that it is, else what masks are."""
    found = recognise(tree)
    if found is None:
        return f"masks are {', '.join(MASK_EXTENSIONS)} files"
    return (
        f"it is read as {found.format} ({found.reason}): maskmill convert {shlex.quote(path)} OUT "
        f"--from {found.format} --to indexed makes masks of it"
    )


def _share_a_folder(photographs: Sequence[str], files: Sequence[FileCensus]) -> bool:
    """True where `convert` would take lossless photographs for masks."""
    folders = {posixpath.dirname(file.name) for file in files}
    return any(
        posixpath.dirname(name) in folders and not name.lower().endswith(LOSSY_EXTENSIONS)
        for name in photographs
    )


def _source_of(
    path: str, tree: FileTree, files: Sequence[FileCensus], convention: Convention
) -> str:
    """What `convert` is to be pointed at: a layout's root, a document, or the masks' own folder."""
    if convention.format == "panoptic":
        has_document = any("panoptic" in name for name in tree.names() if name.endswith(".json"))
        beside = f"{path.rstrip('/')}.json"
        if has_document:
            return path
        return beside if exists(beside) else "PANOPTIC.json"  # the PNGs alone name no class
    is_folder = tree.selected is None and not path.lower().endswith((".zip", ".tar"))
    if convention.format in LAYOUTS or not is_folder or not files:
        return path
    inside = posixpath.commonpath([posixpath.dirname(file.name) for file in files])
    return f"{path.rstrip('/')}/{inside}" if inside else path


def census_in(path: str, name: str) -> FileCensus:
    """The census of one file of the tree at ``path``; never raises for a bad file."""
    try:
        return census_of(_opened(path).read(name), name)
    except FileFailure as failure:
        return FileCensus(
            name=name,
            bytes=0,
            failure=str(failure),
            error_code=failure.code.value,
            values={},
            colors={},
        )


@lru_cache(maxsize=2)
def _opened(path: str) -> FileTree:
    """A tree once per process: the members of an archive are checked once."""
    return open_tree(path)


def mask_names(tree: FileTree) -> list[str]:
    """The files that are masks: not pictures, object masks, or copies for the eye."""
    if tree.selected is not None:
        return [tree.selected]
    candidates = [
        name
        for name in tree.names()
        if name.lower().endswith(MASK_EXTENSIONS)
        and not name.endswith(OTHER_SUFFIXES)
        and not _lies_in(name, OTHER_FOLDERS)
    ]
    outside = [name for name in candidates if not _lies_in(name, PICTURE_FOLDERS)]
    exact = [name for name in outside if not name.lower().endswith(LOSSY_EXTENSIONS)]
    stems = {posixpath.splitext(name)[0] for name in exact}
    bases = {_role_free(name) for name in exact}
    lossy = [
        name
        for name in outside
        if name.lower().endswith(LOSSY_EXTENSIONS)
        and posixpath.splitext(name)[0] not in stems
        and _role_free(name) not in bases
    ]
    return sorted([*exact, *lossy]) or candidates


def picture_sizes(
    names: Sequence[str], tree: FileTree, images: FileTree | None
) -> dict[str, tuple[int, int]] | None:
    """(height, width) of each mask's picture, by mask name; None where no mask has one.

    Pictures are matched by path without extension, then by file name without its role's ending.
    """
    masks = set(names)
    where = images or tree
    pictures = {
        stem: name
        for stem, name in picture_beside(where).items()
        if images is not None or name not in masks
    }
    by_base: dict[str, list[str]] = {}
    for name in pictures.values():
        by_base.setdefault(_role_free(name), []).append(name)
    found: dict[str, tuple[int, int]] = {}
    for name in names:
        same = by_base.get(_role_free(name), [])
        picture = pictures.get(posixpath.splitext(name)[0]) or (same[0] if len(same) == 1 else None)
        if picture is None or (images is None and picture == name):
            continue
        try:
            found[name] = picture_size(where, picture)
        except FileFailure:
            continue
    return found if found or images is not None else None


def _role_free(name: str) -> str:
    stem = posixpath.splitext(posixpath.basename(name))[0]
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if stem.endswith(suffix) and len(stem) > len(suffix):
            return stem.removesuffix(suffix)
    return stem


def _lies_in(name: str, folders: Iterable[str]) -> bool:
    return any(f"/{folder}" in f"/{name}" for folder in folders)


def _class_name(value: Any, labels: LabelMap | None) -> str | None:
    if labels is None:
        return None
    if isinstance(value, tuple):
        return next((entry.name for entry in labels.classes if entry.color == value), None)
    if value == labels.ignore_index:
        return "(ignore)"
    return labels.names[value] if value < len(labels.classes) else None
