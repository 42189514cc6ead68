"""What one conversion is: formats, classes, samples, and all that a worker needs of them."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.class_mapping import (
    ClassMapping,
    build_mapping,
    identity_mapping,
    mapping_by_name,
)
from pipeline.datasets.registry import dataset_format
from pipeline.datasets.samples import (
    DatasetIndex,
    ReadContext,
    ReadOptions,
    SampleItem,
    WriteContext,
    stem_of,
)
from pipeline.datasets.trees import FileTree, open_tree
from pipeline.layout import RunLayout
from pipeline.manifest import refuse_collisions
from pipeline.masks.registry import Unknown
from pipeline.pending import pending_work
from pipeline.splits import split_of
from schemas.conversion_rows import CONVERSION_MANIFEST, CONVERSION_WORK
from schemas.errors import SettingsError
from schemas.labels import LabelMap

CONVERSION_VERSION: Final = 1
"""Raised whenever the same input and settings would give other files or rows than before."""

BLOCK_SAMPLES: Final = 64
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
    shares: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class ConversionPlan:
    """A request after the source was looked through; small, and travels to every worker."""

    request: ConversionRequest
    source_labels: LabelMap
    mapping: ClassMapping
    extras: dict[str, Any]
    info: dict[str, str] = field(default_factory=dict)

    @cached_property
    def read_context(self) -> ReadContext:
        """The source, opened once per process."""
        images = self.request.images
        return ReadContext(
            tree=_opened(self.request.source),
            labels=self.source_labels,
            extras=self.extras,
            unknown=self.request.unknown,
            images=_opened(images) if images else None,
        )

    @property
    def write_context(self) -> WriteContext:
        """What writer and finisher need."""
        return WriteContext(
            labels=self.mapping.target, max_loss=self.request.max_loss, info=self.info
        )

    @property
    def copies_images(self) -> bool:
        """True where the pictures go into the output."""
        return self.request.with_images or dataset_format(self.request.to_format).takes_images

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        state.pop("read_context", None)  # open files stay in their process
        return state


def plan_conversion(request: ConversionRequest) -> tuple[ConversionPlan, list[SampleItem]]:
    """Look through the source: its classes, its samples by key, the mapping to the target.

    Raises:
        SettingsError: formats that cannot be used in that direction, classes that do not map,
            or more classes than the target holds.
        FileFailure: a source that does not follow its format.
    """
    source, target = dataset_format(request.from_format), dataset_format(request.to_format)
    reader = source.load_reader()
    target.load_writer()
    images = open_tree(request.images) if request.images else None
    index = reader.index(
        open_tree(request.source),
        ReadOptions(labels=request.labels, unknown=request.unknown, images=images),
    )
    mapping = choose_mapping(index.labels, request.labels, request.rules)
    if len(mapping.target.classes) > target.max_classes:
        raise SettingsError(
            f"{request.to_format} holds {target.max_classes} classes, the masks have "
            f"{len(mapping.target.classes)}: merge some with --map, or choose another format"
        )
    plan = ConversionPlan(
        request=request, source_labels=index.labels, mapping=mapping, extras=index.extras
    )
    return plan, sorted_items(index)


def choose_mapping(
    source: LabelMap, labels: LabelMap | None, rules: Mapping[str, str] | None
) -> ClassMapping:
    """The one table from the source's classes to the target's.

    ``labels`` that are not the source's own are the target's vocabulary.

    Raises:
        SettingsError: as :func:`pipeline.class_mapping.build_mapping`.
    """
    target = labels if labels is not None and labels != source else None
    if rules is not None:
        return build_mapping(source, rules, target)
    return identity_mapping(source) if target is None else mapping_by_name(source, target)


def sorted_items(index: DatasetIndex) -> list[SampleItem]:
    """The samples by key.

    Raises:
        SettingsError: two samples of one key, or none at all.
    """
    items = sorted(index.items, key=lambda item: item.key)
    if not items:
        raise SettingsError("the source holds no sample; check --from and the path")
    repeated = [key for key, count in Counter(item.key for item in items).items() if count > 1]
    if repeated:
        raise SettingsError(f"the source has two samples of the key {repeated[0]!r}")
    unsafe = [item.key for item in items if not _is_safe(item.key)]
    if unsafe:
        raise SettingsError(f"the source names a picture {unsafe[0]!r}, which leaves its folder")
    return items


def conversion_manifest(
    items: Sequence[SampleItem], request: ConversionRequest, block_samples: int = BLOCK_SAMPLES
) -> pa.Table:
    """CONVERSION_MANIFEST of sorted items: ids, outputs, splits and blocks.

    Raises:
        SettingsError: two outputs would be one file.
    """
    keys = [item.key for item in items]
    outputs = output_stems(keys)
    refuse_collisions(keys, outputs)
    rows = [
        {
            "image_id": place + 1,
            "key": item.key,
            "block": place // block_samples,
            "output": output,
            "split": item.split
            or (split_of(item.key, request.shares, request.seed) if request.shares else ""),
            "payload": json.dumps(item.payload, ensure_ascii=False),
        }
        for place, (item, output) in enumerate(zip(items, outputs, strict=True))
    ]
    return pa.Table.from_pylist(rows, schema=CONVERSION_MANIFEST)


def output_stems(keys: Sequence[str]) -> list[str]:
    """Keys without picture extension; with it for all that would collide."""
    stems = [stem_of(key) for key in keys]
    members = Counter(stems)
    return [stem if members[stem] == 1 else key for key, stem in zip(keys, stems, strict=True)]


def conversion_identity(
    plan: ConversionPlan, manifest: pa.Table, block_samples: int
) -> dict[str, Any]:
    """Everything that decides the output; the fingerprint is over this."""
    request, mapping = plan.request, plan.mapping
    digest = hashlib.sha256()
    for row in manifest.select(["key", "split", "payload"]).to_pylist():
        digest.update(json.dumps(row, sort_keys=True).encode())
    return {
        "inputs": f"{manifest.num_rows} samples, {digest.hexdigest()}",
        "from": request.from_format,
        "to": request.to_format,
        "source_labels": _digest(mapping.source.to_dict()),
        "labels": _digest(mapping.target.to_dict()),
        "mapping": list(mapping.targets),
        "unknown": request.unknown,
        "max_loss": request.max_loss,
        "with_images": plan.copies_images,
        "block_samples": block_samples,
        "conversion_version": CONVERSION_VERSION,
    }


def pending_conversions(layout: RunLayout, manifest: pa.Table, *, retry_failed: bool) -> pa.Table:
    """One row of schema CONVERSION_WORK per block with anything to do, in block order."""
    uris = pa.array([""] * manifest.num_rows, pa.string())
    work = pending_work(layout, manifest.append_column("uri", uris), retry_failed=retry_failed)
    ids = pc.struct_field(pc.list_flatten(work["images"]), "image_id")
    chosen = manifest.filter(pc.is_in(manifest["image_id"], ids.combine_chunks()))
    blocks: dict[int, list[dict[str, Any]]] = {}
    for row in chosen.to_pylist():
        blocks.setdefault(row["block"], []).append(row)
    rows = [{"block": block, "samples": samples} for block, samples in blocks.items()]
    return pa.Table.from_pylist(rows, schema=CONVERSION_WORK)


@lru_cache(maxsize=4)
def _opened(uri: str) -> FileTree:
    """A tree once per process: the members of an archive are checked once, not per block."""
    return open_tree(uri)


def _digest(document: Any) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _is_safe(key: str) -> bool:
    parts = key.split("/")
    return (
        bool(key)
        and not key.startswith("/")
        and not {"", ".", ".."} & set(parts)
        and ("\0" not in key and "\\" not in key)
    )
