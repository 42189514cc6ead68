"""Settings as keyword arguments: their names and types, for type checkers.

Defaults stand nowhere here: what is not given is what the command does without that option.
"""

from collections.abc import Sequence
from os import PathLike
from typing import Literal, TypedDict

PathOrUri = str | PathLike[str]


class RunKeywords(TypedDict, total=False):
    """How a run is done; see `maskmill prelabel --help` for each."""

    engine: Literal["auto", "local", "ray"]
    address: str | None
    workers: int | None
    stall_minutes: float
    retry_failed: bool


class ViewKeywords(TypedDict, total=False):
    """How a network sees pictures; see `maskmill prelabel --help` for each."""

    untrained: bool
    image_size: int | None
    output_stride: int | None
    network_options: Sequence[str]
    scales: Sequence[float]
    flip: bool
    window: int | None
    overlap: float
    threshold: float | None
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    max_pixels: float


class RuleKeywords(TypedDict, total=False):
    """What becomes of a network's answer; see `maskmill prelabel --help` for each."""

    min_confidence: float | None
    min_area: int
    segments: Literal["class", "component"]


class ModelKeywords(ViewKeywords, RuleKeywords, total=False):
    """The settings of a model that labels single pictures."""


class PrelabelKeywords(RunKeywords, ViewKeywords, RuleKeywords, total=False):
    """The options of `maskmill prelabel`; ``writers`` is --write, ``max_pixels`` megapixels."""

    model: str
    weights: PathOrUri | None
    labels: PathOrUri | None
    source_kind: str | None
    every: int | None
    fps: float | str | None
    from_time: float | str | None
    to_time: float | str | None
    gpus_per_worker: float | None
    accelerator_type: str | None
    threads_per_worker: int
    exact_decode: bool
    batch_size: int | None
    writers: Sequence[str]
    store: Literal["files", "shards"] | None
    coco: Literal["one", "blocks", "none"] | None
    block_images: int | None
    limit: int | None
    skip: Sequence[PathOrUri]
    skip_duplicates: bool
    extend: bool


class ConvertKeywords(RunKeywords, total=False):
    """The options of `maskmill convert`; ``map_file`` is --map."""

    labels: PathOrUri | None
    map_file: PathOrUri | None
    unknown: Literal["error", "ignore", "nearest"]
    max_loss: float
    only: PathOrUri | None
    images: PathOrUri | None
    with_images: bool
    mask_suffix: str | None
    split: str | None
    max_package_images: int | None
    max_package_mb: float | None
    seed: int
    strict: bool
    check: bool
    block_samples: int


class AuditKeywords(RunKeywords, total=False):
    """The options of `maskmill audit`; ``map_path`` is --map."""

    labels: PathOrUri | None
    ignore: Sequence[int]
    map_path: PathOrUri | None
    prediction_format: str
    truth_format: str
    resize: Literal["nearest"] | None
    images: PathOrUri | None
    confidences: PathOrUri | None
    counts_only: bool
    resamples: int
    seed: int
    fail_under: str
    overwrite: bool
    limit: int | None
    block_pairs: int
