"""What one `prelabel` command asks for, and what identifies its run."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from pipeline.manifest import manifest_sha256
from pipeline.models.choice import ModelChoice
from pipeline.run_record import PIXELS_VERSION
from pipeline.segments import Per

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
    precision: str = "auto"
    min_confidence: float | None = None
    min_area: int = 0
    segments: Per = "class"
    writers: tuple[str, ...] = ("masks",)
    block_images: int = 32
    max_pixels: int = 128_000_000
    limit: int | None = None
    retry_failed: bool = False
    extend: bool = False
    allow_failures: bool = False
    address: str | None = None

    def settings(self) -> dict[str, Any]:
        """Every option, plain, for run.json."""
        return {**asdict(self), "writers": list(self.writers)}

    def pixel_settings(self) -> dict[str, Any]:
        """The options that decide pixels or rows as they stand."""
        return {name: value for name, value in self.settings().items() if name not in NOT_IDENTITY}


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
    }
