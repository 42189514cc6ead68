"""What a `prelabel` command will do, known before any worker has started; also its --dry-run."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import pyarrow.compute as pc

from maskmill.pipeline.models.adaptation import at_output_stride, check_scales, check_threshold
from maskmill.pipeline.models.choice import ModelChoice, choose_model
from maskmill.pipeline.models.spec import ModelSpec, check_precision
from maskmill.pipeline.prelabel.documents import BLOCKS_FOLDER
from maskmill.pipeline.prelabel.inputs import GROWN, Inputs, list_inputs
from maskmill.pipeline.prelabel.keeping import SHARD_BLOCK_IMAGES
from maskmill.pipeline.prelabel.settings import PrelabelSettings
from maskmill.pipeline.prelabel.writers.registry import (
    FINISHERS,
    SIDE_TABLES,
    VIDEO,
    Coco,
    Output,
    Store,
    with_earlier,
)
from maskmill.pipeline.runs.identity import PIXELS_VERSION, deciding_settings, digest_of, plain
from maskmill.pipeline.runs.layout import SHARDS, RunLayout
from maskmill.pipeline.runs.numbering import BLOCK_IMAGES, BlockLimits, build_manifest
from maskmill.pipeline.runs.pending import num_items, pending_blocks
from maskmill.pipeline.runs.plan import Plan
from maskmill.pipeline.runs.record import RunRecord
from maskmill.pipeline.runs.rows import RowTable
from maskmill.pipeline.selection.skipping import TABLE as SKIPPED
from maskmill.pipeline.views.plan import ViewSettings
from maskmill.pipeline.views.preprocessing import Preprocessing
from maskmill.schemas.tables.prelabel import METADATA

ROWS = RowTable(schema=METADATA)

GPU_PIXELS_VERSION = 2
"""PIXELS_VERSION for what only GPUs do: masks of runs on cores need not begin anew for it."""

GPU_BLOCK_IMAGES = 128
"""Images of a block on GPUs: the driver works per block, and so is a GPU waited for."""

GPU_GROUP, GPU_GROUP_OF_SHAPES = 8, 2
"""Images of a forward on GPUs, where all have one shape and where they have many."""

REMEDIES = {
    "inputs": GROWN,
    "model": "Another model needs another output folder.",
    "weights_sha256": "Other weights need another output folder.",
    "device": "Finish the run on the kind of device it began on, or choose another output folder.",
    "gpu": "Finish the run on the kind of GPU it began on (on a mixed cluster --accelerator-type "
    "names it), or choose another output folder.",
}


@dataclass(frozen=True, kw_only=True)
class PrelabelPlan(Plan):
    """Source listed, model chosen. ``began`` is the identity of an earlier start, if any."""

    inputs_listed: Inputs
    choice: ModelChoice
    outputs_used: tuple[Output, ...]
    side_tables: tuple[str, ...]
    store: Store
    coco: Coco
    began: Mapping[str, Any]
    fitting_group: int | None = None  # what the workers' GPUs were found to hold at once
    graphs: bool = False  # whether they replay what repeats


def plan_prelabel(
    settings: PrelabelSettings, layout: RunLayout, record: RunRecord | None
) -> PrelabelPlan:
    """List the source and choose the model; block size from an earlier start, if there was one.

    Raises:
        SettingsError: a source or model that cannot be, or other images than the run began with.
        ModelError: weights that are missing.
    """
    began = record.identity if record else {}
    earlier = record.settings if record else {}
    store = settings.store or earlier.get("store") or "files"
    coco = settings.coco or earlier.get("coco") or "one"
    block_images = (
        settings.block_images
        or began.get("block_images")
        or default_block_images(settings.views, store)
    )
    listed = list_inputs(settings, layout, block_images, began=began["inputs"] if record else None)
    choice = adapted_choice(settings)
    earlier = record.outputs if record else {}
    outputs = with_earlier(settings.outputs, earlier)
    tables = tuple(one for one in SIDE_TABLES if one in settings.side_tables or one in earlier)
    known = {} if listed.has_grown else {"inputs": listed.identity()}
    return PrelabelPlan(
        sizes=listed.manifest.sizes,
        identity={**known, **known_identity(settings, choice, block_images)},
        notes=(*listed.notes(), *choice.notes),
        put_manifest=listed.put if listed.is_new else None,
        settings={**settings.to_dict(), "store": store, "coco": coco},
        outputs=_told(outputs, tables),
        facts={
            "label_map": choice.labels.to_dict(),
            "model": {
                "name": choice.title,
                "architecture": choice.spec.architecture,
                "output_stride": choice.spec.output_stride,
                "weights": choice.weights_kind,
                "weights_sha256": choice.weights_sha256,
            },
        },
        inputs_listed=listed,
        choice=choice,
        outputs_used=outputs,
        side_tables=tables,
        store=store,
        coco=coco,
        began=began,
    )


def _told(outputs: Sequence[Output], tables: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Settings of what is written beside the rows, by the name that rows have of it."""
    files = {output.spec.name: output.to_dict() for output in outputs}
    return {**files, **{name: {} for name in tables}}


def default_block_images(views: ViewSettings, store: Store = "files", device: str = "cpu") -> int:
    """Fewer where each image is seen often, so that what a block holds at once stays the same."""
    of_files = GPU_BLOCK_IMAGES if device == "cuda" else BLOCK_IMAGES
    images = SHARD_BLOCK_IMAGES if store == "shards" else of_files
    return max(1, int(images / max(1.0, views.forward_cost())))


def blocks_for_gpus(plan: PrelabelPlan, settings: PrelabelSettings) -> PrelabelPlan:
    """The plan with blocks that keep a GPU and the driver busy.

    As it is where a size was asked for or the run has begun.
    """
    if settings.block_images or plan.began:
        return plan
    images = default_block_images(settings.views, plan.store, "cuda")
    manifest, _ = build_manifest(plan.inputs_listed.listing, BlockLimits(images=images))
    listed = replace(plan.inputs_listed, manifest=manifest)
    return replace(
        plan,
        sizes=manifest.sizes,
        identity={**plan.identity, "block_images": images},
        put_manifest=listed.put,
        inputs_listed=listed,
    )


def adapted_choice(settings: PrelabelSettings) -> ModelChoice:
    """The model as the options want it, once they are seen to suit it.

    Raises:
        SettingsError: an output stride, precision, threshold, scale or class that the model
            cannot have.
    """
    choice = choose_model(
        settings.model,
        settings.weights,
        settings.labels,
        untrained=settings.untrained,
        output_stride=settings.output_stride,
        network_options=settings.network_options,
    )
    spec = at_output_stride(choice.spec, settings.output_stride)
    check_precision(settings.precision, spec.precisions)
    check_threshold(settings.threshold, spec, len(choice.labels.classes))
    check_scales(settings.views, spec, settings.image_size)
    for output in settings.outputs:
        if output.settings:
            output.settings.check(choice.labels)
    return replace(choice, spec=spec)


def known_identity(
    settings: PrelabelSettings, choice: ModelChoice, block_images: int
) -> dict[str, Any]:
    """The part of a run's identity that is known before any worker has started."""
    return {
        "model": choice.spec.name,
        "weights_sha256": choice.weights_sha256,
        "label_map": digest_of(choice.labels.to_dict()),
        "pixels_version": PIXELS_VERSION,
        "output_stride": choice.spec.output_stride,
        "network": network_digest(choice.spec),
        "window": settings.views.window_rule(),
        "block_images": block_images,
        **deciding_settings(settings),
    }


def resolved_identity(
    *, device: str, precision: str, group_size: int, torch_version: str, gpu: str | None
) -> dict[str, Any]:
    """The part that whoever holds the network knows; ``gpu`` is None on a CPU."""
    return {
        "device": device,
        "precision": precision,
        "group_size": group_size,
        "torch": torch_version,
        **({"gpu": gpu, "gpu_pixels_version": GPU_PIXELS_VERSION} if gpu else {}),
    }


def default_group_size(device: str, rule: Preprocessing) -> int:
    """Images per forward unless asked otherwise: on a CPU groups of one are the fastest.

    On a GPU every group is filled up, so that no result depends on its company. Where photographs
    come to networks in many sizes, small groups keep that from costing more than it gains: ten
    shapes in a block are ten forwards of two, not of eight.
    """
    if device != "cuda":
        return 1
    return GPU_GROUP if rule.has_one_shape else GPU_GROUP_OF_SHAPES


def network_digest(spec: ModelSpec) -> str:
    """What is built and how it is fed, whatever it is called."""
    built = (spec.builder, spec.options, spec.layout, spec.alignment, spec.grid_stride)
    return digest_of([plain(part) for part in (*built, asdict(spec.preprocessing))])


def dry_run(plan: PrelabelPlan, layout: RunLayout) -> dict[str, Any]:
    """What a run would do, as plain values. Nothing is written and no worker is started."""
    manifest, listing = plan.inputs_listed.manifest, plan.inputs_listed.listing
    to_do = num_items(pending_blocks(layout, plan.sizes, ROWS, outputs=beside_masks(plan)))
    return {
        "source": {"kind": listing.kind, "root": listing.root},
        "images": plan.inputs,
        "bytes": sum(pc.sum(one["bytes"]).as_py() or 0 for one in manifest.tables(["bytes"])),
        "blocks": len(plan.sizes),
        "already_done": plan.inputs - to_do,
        "to_do": to_do,
        "not_considered": plan.inputs_listed.not_considered(),
        "renamed": [
            key
            for one in manifest.tables(["key", "output"])
            for key in one.filter(pc.equal(one["key"], one["output"]))["key"].to_pylist()
        ],
        "notes": list(plan.notes),
        "model": plan.choice.title,
        "would_write": [
            *(
                f"{output.spec.folder}/…{output.extension}"
                for output in plan.outputs_used
                if plan.store == "files"
            ),
            *([f"{SHARDS}/…tar"] if plan.store == "shards" else []),
            *(f"{SIDE_TABLES[name].folder}/…parquet" for name in plan.side_tables),
            "metadata/…parquet",
            *([spec.path for spec in FINISHERS.values()] if plan.coco == "one" else []),
            *([f"{BLOCKS_FOLDER}/…json"] if plan.coco == "blocks" else []),
            *(["videos/…mp4", "videos/…mkv"] if VIDEO in plan.settings["writers"] else []),
            "run.json",
            *([SKIPPED] if plan.inputs_listed.rest.num_skipped else []),
        ],
    }


def beside_masks(plan: Plan) -> list[str]:
    """Names that ok rows of the run must have in their column ``files``."""
    return [name for name in plan.outputs if name != "masks"]
