"""What one conversion is: formats, classes, samples, and all that a worker needs of them."""

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Final

from maskmill.pipeline.convert.manifest import ManifestFile, refuse_keys
from maskmill.pipeline.datasets.bare_shapes import refuse_bare
from maskmill.pipeline.datasets.class_mapping import (
    ClassMapping,
    build_mapping,
    identity_mapping,
    mapping_by_name,
)
from maskmill.pipeline.datasets.foreign_documents import naming_foreign_documents
from maskmill.pipeline.datasets.item_spool import ItemSpool, kept_items
from maskmill.pipeline.datasets.left_out import LeftOut
from maskmill.pipeline.datasets.package_limits import PackageLimits
from maskmill.pipeline.datasets.registry import DATASET_FORMATS, dataset_format
from maskmill.pipeline.datasets.samples import ReadContext, ReadOptions, SampleItem, WriteContext
from maskmill.pipeline.datasets.trees import FileTree, hidden_note, open_tree
from maskmill.pipeline.masks.registry import Unknown
from maskmill.pipeline.runs.identity import digest_of
from maskmill.pipeline.selection.named_images import find_named, read_names
from maskmill.schemas.errors import SettingsError
from maskmill.schemas.labels import LabelMap

CONVERSION_VERSION: Final = 4
"""Raised whenever the same input and settings would give other files or rows than before."""

DATASET_FOLDER: Final = "dataset"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionRequest:
    """What the user asks for. ``rules`` are those of --map, ``shares`` those of --split."""

    source: str
    from_format: str
    to_format: str
    labels: LabelMap | None = None
    rules: Mapping[str, str] | None = None
    unknown: Unknown = "error"
    max_loss: float = 0.01
    images: str | None = None
    with_images: bool = False
    mask_suffix: str | None = None
    shares: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0
    limits: PackageLimits = field(default_factory=PackageLimits)
    only: str | None = None


@dataclass(frozen=True, kw_only=True)
class ConversionPlan:
    """A request after the source was looked through; small, and travels to every worker."""

    request: ConversionRequest
    source_labels: LabelMap
    mapping: ClassMapping
    extras: dict[str, Any]
    info: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()  # what was guessed, and what could not be taken
    left_out: LeftOut = field(default_factory=dict)  # what of the source belongs to no sample

    @property
    def read_context(self) -> ReadContext:
        """The source, opened once per process; an archive once per thread."""
        images = self.request.images
        return ReadContext(
            tree=opened_tree(self.request.source),
            labels=self.source_labels,
            extras=self.extras,
            unknown=self.request.unknown,
            images=opened_tree(images) if images else None,
            takes_pictures=self.copies_images,
        )

    @property
    def write_context(self) -> WriteContext:
        """What writer and finisher need."""
        return WriteContext(
            labels=self.mapping.target,
            max_loss=self.request.max_loss,
            limits=self.request.limits,
            info=self.info,
        )

    @property
    def copies_images(self) -> bool:
        """True where the pictures go into the output."""
        return self.request.with_images or dataset_format(self.request.to_format).takes_images


def plan_conversion(request: ConversionRequest) -> tuple[ConversionPlan, Iterable[SampleItem]]:
    """Look through the source: its classes, its samples, the mapping to the target.

    Raises:
        SettingsError: formats that cannot be used in that direction, classes that do not map,
            or more classes than the target holds.
        FileFailure: a source that does not follow its format, or has boxes and no mask.
    """
    source, target = dataset_format(request.from_format), dataset_format(request.to_format)
    reader = source.load_reader()
    target.load_writer()
    if request.limits != PackageLimits() and not target.package_suffix:
        packaged = [name for name, entry in DATASET_FORMATS.items() if entry.package_suffix]
        raise SettingsError(
            f"{request.to_format} is not written in packages; those that are: {', '.join(packaged)}"
        )
    if request.mask_suffix is not None and not source.pairs_by_name:
        raise SettingsError(
            f"--mask-suffix is for folders of masks; {request.from_format} pairs in its own way"
        )
    images = open_tree(request.images) if request.images else None
    tree = open_tree(request.source)
    options = ReadOptions(
        labels=request.labels,
        unknown=request.unknown,
        images=images,
        mask_suffix=request.mask_suffix,
    )
    with naming_foreign_documents(tree):
        index = reader.index(tree, options)
    mapping = choose_mapping(index.labels, request.labels, request.rules)
    if len(mapping.target.classes) > target.max_classes:
        raise SettingsError(
            f"{request.to_format} holds {target.max_classes} classes, the masks have "
            f"{len(mapping.target.classes)}: merge some with --map, or choose another format"
        )
    plan = ConversionPlan(
        request=request,
        source_labels=index.labels,
        mapping=mapping,
        extras=index.extras,
        notes=(*hidden_note(tree), *index.notes),
        left_out=index.left_out,
    )
    items = kept_items(index.items)
    if source.bare_shapes:
        refuse_bare(request.source, reader, items, plan.read_context)
    return (plan, items) if request.only is None else _only(plan, items, request.only)


def _only(
    plan: ConversionPlan, items: Iterable[SampleItem], names: str
) -> tuple[ConversionPlan, Iterable[SampleItem]]:
    """The samples that a list or a data set names, and what is to be said of the others."""
    spool = items if isinstance(items, ItemSpool) else ItemSpool(items)
    refuse_keys(spool)
    found = find_named(read_names(names), spool.names(), option="--only")
    told = f"--only {names}: {found.chosen.sum():,} of {len(spool):,} samples"
    chosen = (item for item, wanted in zip(spool, found.chosen, strict=True) if wanted)
    return replace(plan, notes=(*plan.notes, told, *found.notes)), chosen


def choose_mapping(
    source: LabelMap, labels: LabelMap | None, rules: Mapping[str, str] | None
) -> ClassMapping:
    """The one table from the source's classes to the target's.

    ``labels`` that are not the source's own are the target's vocabulary.

    Raises:
        SettingsError: as :func:`class_mapping.build_mapping`.
    """
    target = labels if labels is not None and labels != source else None
    if rules is not None:
        return build_mapping(source, rules, target)
    return identity_mapping(source) if target is None else mapping_by_name(source, target)


def conversion_identity(
    plan: ConversionPlan, manifest: ManifestFile, block_samples: int
) -> dict[str, Any]:
    """Everything that decides the output; the fingerprint is over this."""
    request, mapping = plan.request, plan.mapping
    return {
        "inputs": f"{manifest.samples} samples, {manifest.sha256}",
        "from": request.from_format,
        "to": request.to_format,
        "source_labels": digest_of(mapping.source.to_dict()),
        "labels": digest_of(mapping.target.to_dict()),
        "mapping": list(mapping.targets),
        "unknown": request.unknown,
        "max_loss": request.max_loss,
        "with_images": plan.copies_images,
        "package": [request.limits.images, request.limits.bytes],
        "block_samples": block_samples,
        "conversion_version": CONVERSION_VERSION,
    }


def opened_tree(uri: str) -> FileTree:
    """A tree, opened once per process: the members of an archive are checked once, not per block.

    An archive has one position in its file, so each thread has one of its own.
    """
    is_archive = uri.lower().endswith((".zip", ".tar"))
    return _opened(uri, threading.get_ident() if is_archive else 0)


@lru_cache(maxsize=32)
def _opened(uri: str, thread: int) -> FileTree:
    return open_tree(uri)
