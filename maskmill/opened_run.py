"""What a run left behind, from Python: its rows, and each image with its mask and overlay."""

import hashlib
import posixpath
from functools import cached_property
from os import PathLike, fspath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from maskmill.pipeline.audit.manifest import audit_layout
from maskmill.pipeline.pictures.decoding import decode_image
from maskmill.pipeline.prelabel.writers.mask_file import png_to_mask
from maskmill.pipeline.prelabel.writers.overlay import overlay_image
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.ledger import Ledger, count_ledger
from maskmill.pipeline.runs.record import RunRecord, load_record
from maskmill.pipeline.storage.filesystems import read_bytes
from maskmill.schemas.arrays import LabelMask, RgbImage
from maskmill.schemas.errors import ErrorCode, ImageFailure, SettingsError
from maskmill.schemas.labels import LabelMap

_LABELLING = ("prelabel", "cutout")


def open_run(out: str | PathLike[str]) -> "OpenedRun":
    """The run in a folder, or at a URI; one that is under way shows what is committed.

    Raises:
        SettingsError: there is no run.
        RunFailed: a damaged one.
    """
    layout = RunLayout(fspath(out))
    record = load_record(layout)
    if record is None:
        raise SettingsError(f"{layout.root} holds no run: there is no {layout.run_record} in it")
    return OpenedRun(audit_layout(layout.root) if record.command == "audit" else layout, record)


class OpenedRun:
    """Reads from the run folder, and never writes to it. Get one from :func:`open_run`."""

    def __init__(self, layout: RunLayout, record: RunRecord) -> None:
        self._layout, self._record = layout, record

    def __repr__(self) -> str:
        return f"<{self.command} in {self._layout.root}, {self.state}>"

    @property
    def command(self) -> str:
        """What made the run: prelabel, cutout, convert or audit."""
        return self._record.command

    @property
    def state(self) -> str:
        """``finished``, or ``running``: under way, or stopped and to be continued."""
        return self._record.state

    @property
    def ledger(self) -> Ledger:
        """inputs = ok + failed + pending, counted from the committed rows.

        Raises:
            RunFailed: rows that cannot be read.
        """
        inputs = self._layout.read_table(self._layout.manifest, []).num_rows
        return count_ledger(self._layout, inputs)

    @cached_property
    def labels(self) -> LabelMap:
        """The classes of the masks.

        Raises:
            SettingsError: a run that makes no masks from pictures.
        """
        self._check_labelling("a label map")
        return LabelMap.from_dict(self._record.label_map)

    @property
    def rows(self) -> pa.Table:
        """Every committed row, in order; the columns are those of docs/tables.md."""
        return self.read_rows()

    def read_rows(self, columns: list[str] | None = None) -> pa.Table:
        """The same with some columns only, for runs whose rows do not fit into memory.

        Raises:
            RunFailed: a file of rows that cannot be read.
            SettingsError: no rows yet.
        """
        tables = list(self._layout.committed_rows(columns))
        if not tables:
            raise SettingsError(f"{self._layout.root} has no rows yet: run the same command again")
        return pa.concat_tables(tables)

    def row(self, key: str) -> dict[str, Any]:
        """The row of one image.

        Raises:
            SettingsError: no such image, or none yet.
        """
        if key not in self._blocks:
            raise SettingsError(
                f"{self._layout.root} has no row of {key!r}; keys are paths relative to the "
                f"source, as {next(iter(self._blocks), 'in the column key')!r}"
            )
        block = self._layout.committed_block(self._blocks[key])
        found: dict[str, Any] = block.filter(pc.equal(block["key"], key)).to_pylist()[0]
        return found

    def mask(self, key: str) -> LabelMask:
        """(H, W) class indices of one image, 255 (or 65535) = ignore, as they now lie in the file.

        Raises:
            ImageFailure: the image has failed, or its mask is gone.
            SettingsError: no such image, or a run that makes no masks from pictures.
        """
        path = self._good_row(key)["mask_path"]
        try:
            data = self._layout.read(path)
        except FileNotFoundError:
            where = self._layout.path(path)
            raise ImageFailure(ErrorCode.VANISHED, f"{key}: its mask {where} is gone") from None
        return png_to_mask(data, self.labels, name=path)

    def image(self, key: str) -> RgbImage:
        """(H, W, 3) uint8, the picture as the network's input was made from it.

        Raises:
            ImageFailure: the image has failed, or its file is gone or another one now.
            SettingsError: no such image, or a run that makes no masks from pictures.
        """
        row = self._good_row(key)
        data = read_bytes(row["uri"])
        if hashlib.sha256(data).hexdigest() != row["sha256"]:
            raise ImageFailure(
                ErrorCode.VANISHED, f"{key}: {row['uri']} is not the file that was labelled"
            )
        pixels = row["width"] * row["height"]
        return decode_image(data, name=posixpath.basename(key), max_pixels=pixels).pixels

    def overlay(self, key: str) -> RgbImage:
        """(H, W, 3) uint8: the classes in their colours over the picture.

        Raises:
            ImageFailure, SettingsError: as :meth:`mask` and :meth:`image`.
        """
        return overlay_image(self.image(key), self.mask(key), self.labels)

    @cached_property
    def _blocks(self) -> dict[str, int]:
        """Key -> block of every committed row; the only thing that is kept of all images."""
        keys = self.read_rows(["key", "block"])
        return dict(zip(keys["key"].to_pylist(), keys["block"].to_pylist(), strict=True))

    def _good_row(self, key: str) -> dict[str, Any]:
        self._check_labelling("masks of pictures")
        row = self.row(key)
        if row["status"] == "failed":
            raise ImageFailure(ErrorCode(row["error_code"]), str(row["error_message"]))
        return row

    def _check_labelling(self, wanted: str) -> None:
        if self.command not in _LABELLING:
            raise SettingsError(
                f"{self._layout.root} holds a run of {self.command}, which has no {wanted}; its "
                "rows are there"
            )
