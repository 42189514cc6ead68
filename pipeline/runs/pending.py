"""What is still to do in a run: the manifest minus the committed rows."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.record import Ledger
from maskmill.schemas.tables.blocks import WORK


def pending_work(layout: RunLayout, manifest: pa.Table, *, retry_failed: bool) -> pa.Table:
    """One row of schema WORK per block with anything to do, in block order.

    Args:
        layout: the run folder.
        manifest: schema MANIFEST, sorted by image_id.
        retry_failed: take the failed images of committed blocks as well.
    """
    committed = layout.committed_blocks()
    todo = manifest.filter(pc.invert(pc.is_in(manifest["block"], pa.array(committed, pa.int64()))))
    if retry_failed:
        failed = pa.array(_failed_ids(layout), pa.int64())
        retried = manifest.filter(pc.is_in(manifest["image_id"], failed))
        todo = pa.concat_tables([retried, todo]).sort_by("image_id")
    return pa.Table.from_pylist(list(_blocks(todo)), schema=WORK)


def count_ledger(layout: RunLayout, inputs: int) -> Ledger:
    """The ledger of the committed rows, streamed."""
    ledger = Ledger(inputs=inputs)
    for rows in layout.committed_rows(["error_code"]):
        ledger.add(rows["error_code"].to_pylist())
    return ledger


def num_images(work: pa.Table) -> int:
    """How many images a WORK table holds."""
    return int(pc.sum(pc.list_value_length(work["images"])).as_py() or 0)


def _failed_ids(layout: RunLayout) -> list[int]:
    return [
        image_id
        for rows in layout.committed_rows(["image_id", "status"])
        for image_id, status in zip(
            rows["image_id"].to_pylist(), rows["status"].to_pylist(), strict=True
        )
        if status == "failed"
    ]


def _blocks(todo: pa.Table) -> Iterator[dict[str, Any]]:
    columns = ["image_id", "key", "uri", "output"]
    block: int | None = None
    images: list[dict[str, Any]] = []
    for number, image in zip(
        todo["block"].to_pylist(), todo.select(columns).to_pylist(), strict=True
    ):
        if number != block and images:
            yield {"block": block, "images": images}
            images = []
        block = number
        images.append(image)
    if images:
        yield {"block": block, "images": images}
