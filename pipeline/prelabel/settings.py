"""What one `prelabel` or `cutout` command asks for; each setting says whether it decides pixels."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from maskmill.pipeline.masks.segments import Per
from maskmill.pipeline.prelabel.writers.registry import (
    SIDE_TABLES,
    VIDEO,
    WRITERS,
    Coco,
    Output,
    Store,
    WriterSettings,
    outputs_of,
)
from maskmill.pipeline.runs.identity import setting
from maskmill.pipeline.sources.frame_choice import FrameChoice, frame_choice
from maskmill.pipeline.views.plan import DEFAULT_OVERLAP, ViewSettings

_TUPLES = ("writers", "scales", "network_options", "skip")


@dataclass(frozen=True, slots=True, kw_only=True)
class PrelabelSettings:
    """The options, as given; see `maskmill prelabel --help` for each.

    Those that enter a run's identity resolved (device, precision, group size, hashes, output
    stride, windows) say here that they decide nothing, and so do places and names, and which
    frames of videos are taken: these are the inputs.
    """

    source: str = setting(decides=False)
    out: str = setting(decides=False)
    model: str | None = setting(None, decides=False)
    weights: str | None = setting(None, decides=False)
    labels: str | None = setting(None, decides=False)
    untrained: bool = setting(False, decides=True)
    source_kind: str | None = setting(None, decides=False)
    every: int | None = setting(None, decides=False)
    fps: str | None = setting(None, decides=False)
    from_time: str | None = setting(None, decides=False)
    to_time: str | None = setting(None, decides=False)
    threads_per_worker: int = setting(1, decides=True)
    batch_size: int | None = setting(None, decides=False)
    image_size: int | None = setting(None, decides=True)
    exact_decode: bool = setting(False, decides=True)
    output_stride: int | None = setting(None, decides=False)
    network_options: tuple[str, ...] = setting((), decides=False)
    scales: tuple[float, ...] = setting((1.0,), decides=True)
    flip: bool = setting(False, decides=True)
    window: int | None = setting(None, decides=False)
    overlap: float = setting(DEFAULT_OVERLAP, decides=True)
    threshold: float | None = setting(None, decides=True)
    precision: str = setting("auto", decides=False)
    min_confidence: float | None = setting(None, decides=True)
    min_area: int = setting(0, decides=True)
    segments: Per = setting("class", decides=True)
    writers: tuple[str, ...] = setting(("masks",), decides=False)
    writer_settings: Mapping[str, WriterSettings] = field(
        default_factory=dict, metadata={"decides": False}
    )
    store: Store | None = setting(None, decides=False)
    coco: Coco | None = setting(None, decides=False)
    block_images: int | None = setting(None, decides=False)
    max_pixels: int = setting(128_000_000, decides=True)
    limit: int | None = setting(None, decides=False)
    skip: tuple[str, ...] = setting((), decides=False)
    skip_duplicates: bool = setting(False, decides=False)
    extend: bool = setting(False, decides=False)

    def to_dict(self) -> dict[str, Any]:
        """Every option, plain, for run.json; writers with settings have a place of their own."""
        values = asdict(self)
        del values["writer_settings"]
        return {**values, **{name: list(values[name]) for name in _TUPLES}}

    @property
    def views(self) -> ViewSettings:
        """How often, how large and in which parts the network is to see each picture."""
        return ViewSettings(
            scales=self.scales, flip=self.flip, window=self.window, overlap=self.overlap
        )

    @property
    def frames(self) -> FrameChoice:
        """Which frames of videos are taken.

        Raises:
            SettingsError: what is asked for cannot be.
        """
        return frame_choice(self.every, self.fps, self.from_time, self.to_time)

    @property
    def outputs(self) -> tuple[Output, ...]:
        """What is written per image."""
        names = [name for name in self.writers if name in WRITERS]
        return outputs_of(names, self.writer_settings)

    @property
    def side_tables(self) -> tuple[str, ...]:
        """What is written per block beside the rows, by name."""
        return tuple(name for name in SIDE_TABLES if name in self.writers)

    @property
    def writes_video(self) -> bool:
        """Whether videos are to be made of the labelled frames of videos."""
        return VIDEO in self.writers
