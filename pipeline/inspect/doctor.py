"""The mask doctor: which files are masks, their census, the diagnosis, what to run next."""

import posixpath
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from maskmill.pipeline.datasets.foreign_documents import foreign_document
from maskmill.pipeline.datasets.recognition import Recognition, recognise, recognitions
from maskmill.pipeline.datasets.trees import FileTree, hidden_note, open_tree
from maskmill.pipeline.inspect.census import FileCensus, census_of
from maskmill.pipeline.inspect.conventions import MASK_LAYOUTS, likely_convention
from maskmill.pipeline.inspect.documents import conversion, holds_boxes_alone
from maskmill.pipeline.inspect.evidence import Convention
from maskmill.pipeline.inspect.known_sets import WHOLE_VISTAS
from maskmill.pipeline.inspect.mask_files import mask_names, may_be_masks, picture_sizes
from maskmill.pipeline.inspect.naming import Naming, naming_of, with_labels
from maskmill.pipeline.inspect.next_step import next_step
from maskmill.pipeline.inspect.sickness import Finding, Severity, findings_of, sick
from maskmill.pipeline.pictures.names import LOSSY_EXTENSIONS, MASK_EXTENSIONS
from maskmill.pipeline.storage.filesystems import local_path
from maskmill.schemas.errors import FileFailure, SettingsError
from maskmill.schemas.labels import LabelMap

MOST_VALUES: Final = 40
UNCONVERTED: Final = frozenset({"unknown_value", "unreadable", "lossy"})
"""Findings of files that fail where they are converted, as long as nothing else is asked for."""

Censuses = Callable[[Sequence[str]], Iterable[FileCensus]]
"""Mask names -> their census, in the same order; the caller decides how many processes work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What was found in a set of masks, or in a document without any (``files`` is empty then).

    ``next`` is the command that comes next, '' where there is none that is sure to be right.
    """

    path: str
    files: tuple[FileCensus, ...]
    convention: Convention
    naming: Naming
    findings: tuple[Finding, ...] = ()
    next: str = ""

    @property
    def labels(self) -> LabelMap | None:
        """The classes, None where nothing names them."""
        return self.naming.labels

    @property
    def is_sick(self) -> bool:
        """True where anything ends in exit 3."""
        return bool(sick(self.findings))

    @property
    def is_unnamed(self) -> bool:
        """True for masks of classes that only the user can name."""
        names_itself = self.convention.format in ("", "panoptic")
        return bool(self.files) and self.labels is None and not names_itself

    def kinds(self) -> dict[str, int]:
        """Findings by kind, most frequent first."""
        return dict(Counter(finding.kind for finding in self.findings).most_common())

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
            "classes": None if self.labels is None else list(self.labels.names),
            "classes_from": self.naming.origin,
            "unnamed": self.is_unnamed,
            "next": self.next,
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
    path: str,
    censuses: Censuses,
    *,
    labels: LabelMap | None = None,
    labels_argument: str = "",
    images: str | None = None,
) -> Inspection:
    """Census, convention and findings of the masks at ``path``.

    ``labels`` are what the masks should follow, ``labels_argument`` how the user named them.

    Raises:
        SettingsError: nothing there, no mask among the files and no document that we read; a
            document of a program that we do not read is named.
        ArchiveFailure: an archive that is damaged or unsafe.
    """
    tree = open_tree(path)
    names = mask_names(tree)
    document = _document_of(tree)
    told_by_document = document is not None or foreign_document(tree) is not None
    if not names or (told_by_document and not any(map(may_be_masks, names))):
        return _without_masks(path, tree, document, f"masks are {', '.join(MASK_EXTENSIONS)} files")
    every = tuple(censuses(names))
    files = tuple(file for file in every if not file.is_photograph)
    photographs = [file.name for file in every if file.is_photograph]
    if not files:
        only = f"only photographs: {', '.join(photographs[:3])}; maskmill prelabel labels them"
        return _without_masks(path, tree, document, only)
    naming = naming_of(path, tree, [file.name for file in files])
    told = with_labels(naming, labels, labels_argument)
    is_tree = tree.selected is None
    convention = likely_convention(
        files,
        layouts=recognitions(tree) if is_tree else (),
        root=_absolute(path, tree),
        listed=naming.labels,
        is_told=labels is not None,
    )
    told = told.of_convention(convention, tree)
    findings = _findings(files, convention, told, photographs, tree, images)
    can_convert = not {file.name for file in files} <= {
        one.file for one in findings if one.kind in UNCONVERTED
    }
    step = next_step(path, tree, [file.name for file in files], convention, told)
    return Inspection(
        path=path,
        files=files,
        convention=convention,
        naming=told,
        findings=tuple(findings),
        next=step if can_convert else "",
    )


def _findings(
    files: Sequence[FileCensus],
    convention: Convention,
    naming: Naming,
    photographs: Sequence[str],
    tree: FileTree,
    images: str | None,
) -> list[Finding]:
    """What is sick or odd in the masks, the class list beside them, and what lies between them."""
    sizes = picture_sizes(
        [file.name for file in files], tree, open_tree(images) if images else None
    )
    findings = findings_of(files, convention, naming.labels, sizes)
    if naming.failure and convention.name != WHOLE_VISTAS:  # its lists belong to one version each
        in_doubt = naming.is_above or naming.labels is not None
        severity: Severity = "odd" if in_doubt else "sick"
        findings.append(Finding("class_list", severity, "", naming.failure))
    if photographs:
        shown = ", ".join(photographs[:3])
        sentence = f"photographs, no masks, left out ({len(photographs)}): {shown}"
        if _share_a_folder(photographs, files):
            sentence += "; put the masks in a folder of their own before you convert them"
        findings.append(Finding("photographs", "odd", "", sentence))
    findings += [Finding("hidden", "odd", "", note) for note in hidden_note(tree)]
    return findings


def _document_of(tree: FileTree) -> Recognition | None:
    """What a tree is whose labels are in documents, not in masks of their own."""
    found = recognise(tree)
    is_masks = tree.selected is None and found is not None and found.format in MASK_LAYOUTS
    return None if is_masks else found


def _without_masks(
    path: str, tree: FileTree, document: Recognition | None, otherwise: str
) -> Inspection:
    """The document that a tree holds instead of masks.

    Raises:
        SettingsError: none that is read here; it is named, else ``otherwise`` is said.
    """
    if document is not None:
        boxes = holds_boxes_alone(tree, document)
        return Inspection(
            path=path,
            files=(),
            convention=Convention(document.format, document.format, "", document.reason),
            naming=Naming(),
            findings=(Finding("boxes", "odd", "", boxes),) if boxes else (),
            next="" if boxes else conversion(path, document),
        )
    foreign = foreign_document(tree)
    raise SettingsError(f"{path} holds no mask; {foreign.sentence if foreign else otherwise}")


def _absolute(path: str, tree: FileTree) -> str:
    """The folder of the tree, with those above it."""
    folder = path if tree.selected is None else path.rpartition("/")[0]
    return local_path(folder or ".") or folder


def _share_a_folder(photographs: Sequence[str], files: Sequence[FileCensus]) -> bool:
    """True where `convert` would take lossless photographs for masks."""
    folders = {posixpath.dirname(file.name) for file in files}
    return any(
        posixpath.dirname(name) in folders and not name.lower().endswith(LOSSY_EXTENSIONS)
        for name in photographs
    )


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


def _class_name(value: Any, labels: LabelMap | None) -> str | None:
    if labels is None:
        return None
    if isinstance(value, tuple):
        return next((entry.name for entry in labels.classes if entry.color == value), None)
    if value == labels.ignore_index:
        return "(ignore)"
    return labels.names[value] if value < len(labels.classes) else None
