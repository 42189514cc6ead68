"""What one `convert` command asks for."""

from dataclasses import asdict, dataclass
from typing import Any

from maskmill.pipeline.convert.conversion import ConversionRequest

REMEDIES = {
    "inputs": "The source has changed since this run began: choose another output folder.",
    "from": "OUT holds a conversion from another format: choose another output folder.",
    "to": "OUT holds a conversion to another format: choose another output folder.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertConfig:
    """The options of the command; see `maskmill convert --help` for each.

    ``request`` is what decides the output, the rest how the run goes.
    """

    request: ConversionRequest
    out: str
    check: bool = False
    workers: int | None = None
    block_samples: int = 64
    retry_failed: bool = False
    allow_failures: bool = False
    address: str | None = None

    def settings(self) -> dict[str, Any]:
        """Plain values for run.json; the label map has a place of its own there."""
        flat = asdict(self)
        request = flat.pop("request")
        del request["labels"]
        return {**request, **flat}
