"""What one `convert` command asks for."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.conversion import ConversionRequest
from pipeline.filesystems import local_path
from pipeline.masks.registry import Unknown
from schemas.labels import LabelMap

REMEDIES = {
    "inputs": "The source has changed since this run began: choose another output folder.",
    "from": "OUT holds a conversion from another format: choose another output folder.",
    "to": "OUT holds a conversion to another format: choose another output folder.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertConfig:
    """The options of the command; see `maskmill convert --help` for each."""

    source: str
    out: str
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
    check: bool = False
    workers: int | None = None
    block_samples: int = 64
    retry_failed: bool = False
    allow_failures: bool = False
    address: str | None = None

    def request(self) -> ConversionRequest:
        """What decides the output."""
        return ConversionRequest(
            source=_absolute(self.source),
            from_format=self.from_format,
            to_format=self.to_format,
            labels=self.labels,
            rules=self.rules,
            unknown=self.unknown,
            max_loss=self.max_loss,
            images=_absolute(self.images) if self.images else None,
            with_images=self.with_images,
            shares=self.shares,
            seed=self.seed,
        )


def _absolute(path: str) -> str:
    """Workers may stand in another folder."""
    return local_path(path) or path
