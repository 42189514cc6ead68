"""One image at a time, so that the one that kills its worker can be told from its neighbours."""

from collections.abc import Callable, Iterable, Iterator

from maskmill.pipeline.prelabel.parcels import Item
from maskmill.pipeline.runs.attempts import IMAGE_DEATHS, BlockAttempt
from maskmill.schemas.errors import ErrorCode


def each_image(
    attempt: BlockAttempt, items: Iterable[Item], work: Callable[[Item], Item]
) -> Iterator[Item]:
    """``work`` on every image that has not failed; a deadly image becomes a failed one unasked."""
    for item in items:
        if item.failed:
            yield item
        elif attempt.is_deadly(item.image_id):
            yield worker_died(item, attempt.note.stage)
        else:
            attempt.mark(item.image_id)
            yield work(item)


def worker_died(item: Item, stage: str) -> Item:
    """The failed row of an image that kills whatever touches it."""
    return item.failing(
        ErrorCode.WORKER_DIED,
        f"{item.key}: the worker process died {IMAGE_DEATHS} times while it worked on this image "
        f"alone (stage: {stage}); check the picture and the machine's memory, then --retry-failed",
    )
