"""What a push hands to an annotators' tool, and what the tool says became of it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from maskmill.pipeline.datasets.samples import Sample
from maskmill.schemas.errors import FileFailure


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingImage:
    """One image of a chunk with its mask read. ``uri`` is where the picture's bytes are."""

    image_id: int
    key: str
    uri: str
    sample: Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """An image that is there: its task, its place in it, and how much of its mask is there."""

    task_id: int
    picture: str
    regions: int
    frame: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """The last look of a push: ``removed`` tasks that were there twice, ``gone`` keys that the
    ledger has and the server has not any more."""

    removed: int = 0
    gone: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default_factory=tuple)


class Annotators(Protocol):
    """A tool that takes images with predictions, each once however often it is asked."""

    def deliver(
        self, chunk: str, name: str, images: Sequence[OutgoingImage]
    ) -> Mapping[int, Delivered | FileFailure]:
        """Make sure that the images are there; what became of each, by image_id.

        Args:
            chunk: names this chunk among all that any push has sent.
            name: of the task, for tools whose task is a whole chunk.
            images: those of the chunk; the same ones at every call.

        Raises:
            ServerFailed: the server fails; what it took is found again by the next call.
        """

    def settle(self, push: str, ledger: Iterable[tuple[str, int]]) -> Settlement:
        """Compare the server with (key, task_id) of the ledger, and remove what is there twice."""
