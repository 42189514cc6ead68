"""Settings as keyword arguments: names and types for type checkers, values as commands take them.

Defaults stand nowhere here: what is not given is what the command does without that option. What is
given goes through the command's own options, so that checks and messages are the same.
"""

from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from typing import Any, Literal, TypedDict

import click

from maskmill.schemas.errors import SettingsError

PathOrUri = str | PathLike[str]

NOT_SETTINGS = ("as_json", "dry_run", "allow_failures", "list_formats", "source", "out")
"""Parameters of commands that say how to print and to exit, or that functions take as arguments."""


class RunSettings(TypedDict, total=False):
    """How a run is done; see `maskmill prelabel --help` for each."""

    engine: Literal["auto", "local", "ray"]
    address: str | None
    workers: int | None
    retry_failed: bool


class ViewSettings(TypedDict, total=False):
    """How a network sees pictures; see `maskmill prelabel --help` for each."""

    untrained: bool
    image_size: int | None
    output_stride: int | None
    scales: Sequence[float]
    flip: bool
    window: int | None
    overlap: float
    threshold: float | None
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    max_pixels: float


class PrelabelSettings(RunSettings, ViewSettings, total=False):
    """The options of `maskmill prelabel`; ``writers`` is --write, ``max_pixels`` megapixels."""

    model: str
    weights: PathOrUri | None
    labels: PathOrUri | None
    source_kind: str | None
    gpus_per_worker: float | None
    threads_per_worker: int
    batch_size: int | None
    min_confidence: float | None
    min_area: int
    segments: Literal["class", "component"]
    writers: Sequence[str]
    block_images: int | None
    limit: int | None
    extend: bool


class ConvertSettings(RunSettings, total=False):
    """The options of `maskmill convert`; ``map_file`` is --map."""

    labels: PathOrUri | None
    map_file: PathOrUri | None
    unknown: Literal["error", "ignore", "nearest"]
    max_loss: float
    images: PathOrUri | None
    with_images: bool
    split: str | None
    max_package_images: int | None
    max_package_mb: float | None
    seed: int
    check: bool
    block_samples: int


class AuditSettings(RunSettings, total=False):
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


def names_of(command: click.Command) -> dict[str, click.Option]:
    """The settings a command has, by the name of the keyword argument."""
    return {
        option.name: option
        for option in command.params
        if isinstance(option, click.Option) and option.name and option.name not in NOT_SETTINGS
    }


def checked(command: click.Command, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as the command would pass them on; those that are None are left out.

    Raises:
        TypeError: a setting that the command does not have.
        SettingsError: a value that the command would not take, in its words.
    """
    options = names_of(command)
    unknown = [name for name in settings if name not in options]
    if unknown:
        raise TypeError(f"no setting {', '.join(unknown)}; there are: {', '.join(sorted(options))}")
    context = click.Context(command)
    try:
        return {
            name: options[name].process_value(context, _as_typed(value, options[name]))
            for name, value in settings.items()
            if value is not None
        }
    except click.UsageError as error:
        raise SettingsError(error.format_message()) from error


def _as_typed(value: Any, option: click.Option) -> Any:
    """A value as it would be typed: so 5.5 is no whole number, and lists are lists."""
    if isinstance(value, bool):
        return value
    if isinstance(value, PathLike):
        return fspath(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        parts = tuple(str(part) for part in value)
        return parts if option.multiple else ",".join(parts)
    return str(value)
