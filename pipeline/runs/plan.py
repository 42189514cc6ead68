"""What a run will do, known before any worker has started."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from maskmill.pipeline.runs.layout import RunLayout


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The manifest's shape, what makes it this run, and what the user should hear first.

    ``sizes`` are the items of each block of the manifest. ``identity`` is what is known of the
    run's identity so far. ``put_manifest`` writes the manifest; None where the one on disk is it.
    ``settings`` are for run.json; ``outputs`` the settings of what is written beside the rows, by
    the name that rows have in their column ``files``. ``facts`` are fields of the RunRecord.
    """

    sizes: Sequence[int]
    identity: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    put_manifest: Callable[[RunLayout], None] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    outputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def inputs(self) -> int:
        """Items of the manifest."""
        return sum(self.sizes)
