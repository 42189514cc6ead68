"""Videos of the labelled frames of a video: one under its classes, and one of the masks, lossless.

    OUT/videos/<video>.overlay.mp4    the frames under their classes
    OUT/videos/<video>.masks.mkv      FFV1, grey levels are the mask's values

Both show each frame for as long as the source does until the next one that was taken. Frames that
failed, and those of another size than the first, are left out: what was there before stays.
"""

import tempfile
from collections.abc import Iterator
from itertools import groupby
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.compute as pc

from maskmill.pipeline.pictures.decoding import decode_image
from maskmill.pipeline.pictures.frame_place import FramePlace, place_of_frame
from maskmill.pipeline.prelabel.writers.mask_file import png_to_mask
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.storage.filesystems import read_bytes
from maskmill.schemas.arrays import LabelMask
from maskmill.schemas.errors import SettingsError
from maskmill.schemas.labels import LabelMap

FOLDER = "videos"
_COLUMNS = ["video", "frame", "key", "uri", "mask_path", "status", "width", "height"]


def write_videos(layout: RunLayout, labels: LabelMap, *, max_pixels: int, again: bool) -> None:
    """Both videos of every video in a run whose rows are committed.

    Args:
        layout: the run folder.
        labels: of its masks.
        max_pixels: most pixels that a frame may have.
        again: also where they are there already, for the rows have changed.

    Raises:
        SettingsError: the run has no frame of a video.
        FileFailure: a video or a mask that was there is no longer so.
    """
    rows = _frame_rows(layout)
    if not rows.num_rows:
        raise SettingsError(
            f"{layout.root}: --write video is for videos, and the source has none; leave it out"
        )
    for video, part in groupby(_sorted_rows(rows), key=lambda row: str(row["video"])):
        paths = [f"{FOLDER}/{video}.{kind}" for kind in ("overlay.mp4", "masks.mkv")]
        if again or not all(layout.exists(path) for path in paths):
            _write_both(layout, list(part), labels, paths, max_pixels)


def _frame_rows(layout: RunLayout) -> pa.Table:
    """Ok rows of frames, of the columns needed: some hundred bytes for each."""
    tables = [
        table.filter(pc.and_(pc.is_valid(table["video"]), pc.equal(table["status"], "ok")))
        for table in layout.committed_rows(_COLUMNS)
    ]
    return pa.concat_tables(tables)


def _sorted_rows(rows: pa.Table) -> Iterator[dict[str, Any]]:
    for batch in rows.sort_by([("video", "ascending"), ("frame", "ascending")]).to_batches(1024):
        yield from batch.to_pylist()


def _write_both(
    layout: RunLayout,
    rows: list[dict[str, Any]],
    labels: LabelMap,
    paths: list[str],
    max_pixels: int,
) -> None:
    from maskmill.pipeline.pictures.video_writer import (  # FFmpeg, for videos only
        TimedFrame,
        write_lossless,
        write_viewing,
    )
    from maskmill.pipeline.prelabel.writers.overlay import overlay_image

    size = rows[0]["width"], rows[0]["height"]
    shown = [row for row in rows if (row["width"], row["height"]) == size]
    first = _place(shown[0])

    def masks() -> Iterator[TimedFrame]:
        for row in shown:
            yield TimedFrame(_mask(layout, row, labels), _since(first, row))

    def overlays() -> Iterator[TimedFrame]:
        for row in shown:
            data = read_bytes(row["uri"])
            picture = decode_image(data, name=row["key"], max_pixels=max_pixels).pixels
            mask = _mask(layout, row, labels)
            yield TimedFrame(overlay_image(picture, mask, labels), _since(first, row))

    with tempfile.TemporaryFile() as spool:
        stream = cast(BinaryIO, spool)
        write_viewing(stream, overlays(), first.time_base)
        _put(layout, paths[0], stream)
    with tempfile.TemporaryFile() as spool:
        stream = cast(BinaryIO, spool)
        write_lossless(stream, masks())
        _put(layout, paths[1], stream)


def _put(layout: RunLayout, path: str, stream: BinaryIO) -> None:
    stream.seek(0)
    layout.write_stream(path, stream)


def _mask(layout: RunLayout, row: dict[str, Any], labels: LabelMap) -> LabelMask:
    return png_to_mask(layout.read(row["mask_path"]), labels, name=row["mask_path"])


def _since(first: FramePlace, row: dict[str, Any]) -> Any:
    return (_place(row).pts - first.pts) * first.time_base


def _place(row: dict[str, Any]) -> FramePlace:
    place = place_of_frame(row["uri"])
    if place is None:
        raise ValueError(f"{row['key']} is no frame")
    return place
