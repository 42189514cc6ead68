"""The two sides of an audit: a folder of masks, a dataset of any format, or a `prelabel` run."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from typing import Any

from pyarrow import fs

from maskmill.pipeline.audit.corrections import is_pulled
from maskmill.pipeline.audit.mask_files import MaskFile, MaskFiles
from maskmill.pipeline.audit.run_files import run_files
from maskmill.pipeline.audit.values import read_mask_values
from maskmill.pipeline.datasets.bare_shapes import refuse_bare
from maskmill.pipeline.datasets.class_mapping import (
    EVERY_OTHER,
    KEEP,
    ClassMapping,
    build_mapping,
    mapping_by_name,
    told_rules,
)
from maskmill.pipeline.datasets.item_spool import kept_items
from maskmill.pipeline.datasets.recognition import Recognition, recognitions
from maskmill.pipeline.datasets.registry import DATASET_FORMATS, dataset_format, readable_formats
from maskmill.pipeline.datasets.samples import DatasetReader, ReadContext, ReadOptions, SampleItem
from maskmill.pipeline.datasets.trees import FileTree, hidden_note, open_tree
from maskmill.pipeline.masks.registry import MASK_FORMATS
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.record import load_record
from maskmill.pipeline.sources.entries import SourceRequest, Tally
from maskmill.pipeline.sources.folder import list_folder
from maskmill.pipeline.sources.registry import kind_of, list_source, sorted_entries
from maskmill.pipeline.storage.filesystems import local_path, read_bytes, resolve
from maskmill.schemas.arrays import LabelMask
from maskmill.schemas.errors import SettingsError
from maskmill.schemas.labels import LabelMap

FOLDER_FORMATS = ("auto", "masks", *MASK_FORMATS)
"""Folders, globs and lists of mask files, which are read value by value."""

BY_FILE = ("masks", "cityscapes", "cityscapes_train_ids", "cityscapes_color")
"""Read as folders of mask files: values are the audit's classes; pairing chooses the files."""

DOCUMENTS = (".json", ".xml", ".zip", ".tar")
"""Files that may be a dataset; other ones are a mask or a list of masks."""

MAX_MASK_BYTES = 1 << 30

NO_FILES = MaskFiles.of(())


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSide:
    """How the masks of one side are read, and what their values mean.

    ``labels`` are the side's own classes, None for the audit's. ``mapping`` sends its values to
    classes of the audit (None: ignore); without one they are classes themselves. ``extras`` is
    what a dataset's reader learned in its one pass.
    """

    uri: str = ""
    format: str = "auto"
    labels: LabelMap | None = None
    mapping: Mapping[int, int | None] | None = None
    extras: Mapping[str, Any] = field(default_factory=dict)

    @property
    def file_format(self) -> str:
        """The mask format in which the files of a folder are read; ``auto``: file by file."""
        return "auto" if self.format == "masks" else self.format

    def to_dict(self) -> dict[str, Any]:
        """Plain values, from which :meth:`from_dict` makes the side again but for its extras."""
        return {
            "uri": self.uri, "format": self.format,
            "labels": self.labels.to_dict() if self.labels else None,
            "mapping": sorted(self.mapping.items()) if self.mapping is not None else None,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "AuditSide":
        """What :meth:`to_dict` gave, through JSON or not."""
        labels, mapping = values["labels"], values["mapping"]
        return cls(
            uri=values["uri"], format=values["format"],
            labels=LabelMap.from_dict(labels) if labels else None,
            mapping=dict(mapping) if mapping is not None else None,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class SideListing:
    """One side listed. ``pictures`` and ``confidences`` are files of the masks' keys, if known.

    ``is_partial``: it holds what annotators have done so far; what is not there is yet to come.
    """

    side: AuditSide
    files: MaskFiles
    pictures: MaskFiles = NO_FILES
    confidences: MaskFiles = NO_FILES
    notes: tuple[str, ...] = ()
    is_partial: bool = False


def side_formats() -> list[str]:
    """What a side can be said to be."""
    return list(dict.fromkeys(["auto", *readable_formats()]))


def list_side(source: str, *, format: str = "auto", labels: LabelMap | None = None) -> SideListing:
    """Names only; no mask is read.

    Args:
        source: a folder, glob, list or archive of masks, a dataset, or OUT of a run.
        format: what it is; ``auto`` finds out.
        labels: the classes, for formats that do not carry them.

    Raises:
        SettingsError: nothing is there, no such format, or classes are needed.
        DocumentFailure: a dataset that does not follow its format, or has boxes and no mask.
    """
    if format not in side_formats():
        raise SettingsError(f"no format {format!r}; there are: {', '.join(side_formats())}")
    source = local_path(source) or source  # workers of a cluster start in other folders
    guess = guess_format(source) if format == "auto" else Recognition(format, "")
    if guess.format == "prelabel":
        return _list_run(source)
    if guess.format in FOLDER_FORMATS:
        return _list_files(source, guess.format)
    listing = _list_dataset(source, guess.format, labels)
    if format != "auto":
        return listing
    told = f"{source} is read as {guess.format}: {guess.reason}"
    return replace(listing, notes=(told, *listing.notes))


def guess_format(source: str) -> Recognition:
    """What a side is: a dataset that is recognised, a COCO document, else ``auto`` mask files.

    Raises:
        SettingsError: datasets of two formats in one place.
    """
    filesystem, path = resolve(source)
    kind = filesystem.get_file_info(path).type
    is_document = kind == fs.FileType.File and path.lower().endswith(DOCUMENTS)
    if kind == fs.FileType.Directory or is_document:
        found = [one for one in recognitions(open_tree(source)) if one.format not in BY_FILE]
        if len(found) > 1:
            told = " and ".join(f"{one.format} ({one.reason})" for one in found)
            raise SettingsError(
                f"{source} is {told}; say which with --prediction-format or --truth-format"
            )
        if found:
            return found[0]
    if path.lower().endswith(".json"):
        return Recognition("coco", "a JSON document that is nothing else")
    return Recognition("auto", "mask files")


def read_side(
    side: AuditSide, labels: LabelMap, uri: str, item: str | None, name: str
) -> tuple[LabelMask, str]:
    """((H, W) values, what they were read as) of one mask of a side.

    Raises:
        FileFailure: it cannot be read as a mask.
    """
    own = side.labels or labels
    if item is None:
        data = read_bytes(uri, limit=MAX_MASK_BYTES)
        return read_mask_values(data, own, name=name, format=side.file_format)
    reader, tree = _open_dataset(side.uri, side.format)
    context = ReadContext(tree=tree, labels=own, extras=dict(side.extras))
    sample = reader.read(SampleItem(**json.loads(item)), context)
    return sample.mask, side.format


def with_mapping(listing: SideListing, labels: LabelMap, rules: str | None = None) -> SideListing:
    """The side with its classes sent to those of the audit, by name or by rules.

    Args:
        listing: the side.
        labels: the classes of the audit.
        rules: a map file, or a rule as it would stand in one (``* = background``). ``*`` is about
            the classes that neither the rules nor ``labels`` name.

    Raises:
        SettingsError: a class of the side that has no place among the audit's, and no rule.
    """
    own = listing.side.labels or labels
    if rules is not None:
        read = told_rules(rules)
        if read.get(EVERY_OTHER, KEEP) != KEEP:
            read = {**{name: name for name in own.names if name in labels.names}, **read}
        mapping = build_mapping(own, read, labels)
    elif own.names == labels.names:
        return listing
    else:
        mapping = mapping_by_name(own, labels)
    return replace(listing, side=replace(listing.side, mapping=_value_mapping(mapping)))


def missing_classes(listing: SideListing, labels: LabelMap) -> list[str]:
    """Names of the side's classes that the audit's classes lack; background meets background."""
    own = listing.side.labels or labels
    has_background = labels.background_index is not None
    return [
        entry.name for entry in own.classes
        if entry.name not in labels.names and not (entry.is_background and has_background)
    ]  # fmt: skip


def rules_to_edit(listing: SideListing, labels: LabelMap) -> str:
    """A map file for classes that do not meet: every class that has no place has ``?`` as one."""
    own = listing.side.labels or labels
    missing = set(missing_classes(listing, labels))
    lines = [
        f"{entry.name} = {'?' if entry.name in missing else entry.name}"
        for entry in own.classes if entry.name in missing or entry.name in labels.names
    ]  # fmt: skip
    head = (
        "# What the predictions' classes are called in the truth. Write one of these for each ?",
        f"# {', '.join(labels.names)}, @ignore, @background",
    )
    return "\n".join((*head, *lines)) + "\n"


def _value_mapping(mapping: ClassMapping) -> Mapping[int, int | None]:
    ignore = mapping.target.ignore_index
    return {
        index: None if target == ignore else target for index, target in enumerate(mapping.targets)
    }


def _list_files(source: str, format_name: str) -> SideListing:
    """Every mask file; a folder without one is an empty side, not a mistake."""
    tally = Tally()
    if kind_of(source) == "folder":
        rows = sorted_entries(list_folder(SourceRequest(source=source), tally).entries)
    else:
        listing = list_source(source)
        rows = listing.rows
        tally.notes += listing.notes
    notes = [
        f"{count} files {name} in {source} not considered"
        for name, count in tally.not_considered.items()
    ]
    side = AuditSide(uri=source, format=format_name)
    return SideListing(side=side, files=MaskFiles(rows), notes=(*tally.notes, *notes))


def _list_run(source: str) -> SideListing:
    """The ok rows of a run; confidences where it wrote probabilities."""
    layout = RunLayout(source)
    record = load_record(layout)
    if record is None:
        raise SettingsError(f"{source} holds no {layout.run_record}, so it is no run of prelabel")
    files, pictures, confidences = run_files(layout)
    side = AuditSide(uri=source, format="prelabel", labels=LabelMap.from_dict(record.label_map))
    return SideListing(
        side=replace(side, format="auto"),
        files=files,
        pictures=pictures,
        confidences=confidences,
        is_partial=is_pulled(layout),
    )


def _list_dataset(source: str, format_name: str, labels: LabelMap | None) -> SideListing:
    reader, tree = _open_dataset(source, format_name)
    index = reader.index(tree, ReadOptions(labels=labels))
    items = kept_items(index.items)
    if dataset_format(format_name).bare_shapes:
        context = ReadContext(tree=tree, labels=index.labels, extras=dict(index.extras))
        refuse_bare(source, reader, items, context)
    files = MaskFiles.of(
        MaskFile(item.key, tree.uri, json.dumps(asdict(item), ensure_ascii=False)) for item in items
    )
    side = AuditSide(uri=source, format=format_name, labels=index.labels, extras=index.extras)
    return SideListing(side=side, files=files, notes=(*hidden_note(tree), *index.notes))


@lru_cache(maxsize=4)
def _open_dataset(uri: str, format_name: str) -> tuple[DatasetReader, FileTree]:
    if format_name not in DATASET_FORMATS:
        raise SettingsError(f"no dataset format {format_name!r}")
    return dataset_format(format_name).load_reader(), open_tree(uri)
