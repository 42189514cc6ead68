"""What one `prelabel` command asks for, and what identifies its run."""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Any

import pyarrow as pa

from maskmill.pipeline.masks.segments import Per
from maskmill.pipeline.models.adaptation import at_output_stride, check_scales, check_threshold
from maskmill.pipeline.models.choice import ModelChoice
from maskmill.pipeline.models.spec import check_precision
from maskmill.pipeline.prelabel.cutout import CutoutSettings, chosen_classes
from maskmill.pipeline.prelabel.writers.cutout_file import cutout_writer
from maskmill.pipeline.prelabel.writers.registry import WriterSpec
from maskmill.pipeline.runs.manifest import BLOCK_IMAGES, manifest_sha256
from maskmill.pipeline.runs.record import PIXELS_VERSION
from maskmill.pipeline.views.plan import DEFAULT_OVERLAP, ViewSettings

BLOCK_BYTES = 64 << 20
"""A block closes early at this many bytes of encoded files, so that large images stay in memory."""

MAX_FILE_BYTES = 2 << 30

NOT_IDENTITY = (
    "source",
    "out",
    "workers",
    "gpus_per_worker",
    "address",
    "retry_failed",
    "extend",
    "allow_failures",
    "source_kind",
    "limit",
    "batch_size",
    "precision",
    "threads_per_worker",
    "weights",
    "labels",
    "model",
)
"""Fields that decide no pixels, or that enter the identity resolved (device, precision, hashes)."""

REMEDIES = {
    "inputs": "The source has changed: --extend adds its new images to this run; removed ones need "
    "a new output folder.",
    "model": "Another model needs another output folder.",
    "weights_sha256": "Other weights need another output folder.",
    "device": "Finish the run on the kind of device it began on, or choose another output folder.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PrelabelConfig:
    """The options of the command, as given; see `maskmill prelabel --help` for each."""

    source: str
    out: str
    model: str
    weights: str | None = None
    labels: str | None = None
    untrained: bool = False
    source_kind: str | None = None
    workers: int | None = None
    gpus_per_worker: float | None = None
    threads_per_worker: int = 1
    batch_size: int | None = None
    image_size: int | None = None
    output_stride: int | None = None
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    window: int | None = None
    overlap: float = DEFAULT_OVERLAP
    threshold: float | None = None
    precision: str = "auto"
    min_confidence: float | None = None
    min_area: int = 0
    segments: Per = "class"
    writers: tuple[str, ...] = ("masks",)
    cutout: CutoutSettings | None = None
    block_images: int = BLOCK_IMAGES
    max_pixels: int = 128_000_000
    limit: int | None = None
    retry_failed: bool = False
    extend: bool = False
    allow_failures: bool = False
    address: str | None = None

    def settings(self) -> dict[str, Any]:
        """Every option, plain, for run.json."""
        lists = {"writers": list(self.writers), "scales": list(self.scales)}
        return {**asdict(self), **lists, "cutout": self.cutout and self.cutout.to_dict()}

    def pixel_settings(self) -> dict[str, Any]:
        """The options that decide pixels or rows as they stand."""
        return {name: value for name, value in self.settings().items() if name not in NOT_IDENTITY}

    def views(self) -> ViewSettings:
        """How often, how large and in which parts the network is to see each picture."""
        return ViewSettings(
            scales=self.scales, flip=self.flip, window=self.window, overlap=self.overlap
        )

    @property
    def command(self) -> str:
        """Which command such a run is."""
        return "cutout" if self.cutout else "prelabel"

    def own_writers(self) -> tuple[WriterSpec, ...]:
        """The per-image outputs that have settings, beside those that ``writers`` names."""
        return (cutout_writer(self.cutout),) if self.cutout else ()

    def adapted(self, choice: ModelChoice) -> ModelChoice:
        """The model at the output stride asked for, once the options are seen to suit it.

        Raises:
            SettingsError: an output stride, precision, threshold, scale or class that the model
                cannot have.
        """
        spec = at_output_stride(choice.spec, self.output_stride)
        check_precision(self.precision, spec.precisions)
        check_threshold(self.threshold, spec, len(choice.labels.classes))
        check_scales(self.views(), spec, self.image_size)
        if self.cutout:
            chosen_classes(self.cutout, choice.labels)
        return replace(choice, spec=spec)


def default_block_images(views: ViewSettings) -> int:
    """Fewer where each image is seen often, so that what a block holds at once stays the same."""
    return max(1, int(BLOCK_IMAGES / max(1.0, views.forward_cost())))


def identity_before_start(
    config: PrelabelConfig, manifest: pa.Table, choice: ModelChoice
) -> dict[str, Any]:
    """The part of a run's identity that is known before any worker has started."""
    classes = json.dumps(choice.labels.to_dict(), sort_keys=True)
    return {
        "inputs": f"{manifest.num_rows} images, {manifest_sha256(manifest)}",
        "model": choice.spec.name,
        "weights_sha256": choice.weights_sha256,
        "label_map": hashlib.sha256(classes.encode()).hexdigest(),
        "pixels_version": PIXELS_VERSION,
        "threads_per_worker": config.threads_per_worker,
        **config.pixel_settings(),
        "output_stride": choice.spec.output_stride,
        "window": config.views().window_rule(),
    }
