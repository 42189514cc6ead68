"""What `convert` reads, looked at: a data set, or a conversion's samples in their new classes."""

import threading
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from maskmill.pipeline.convert.conversion import ConversionPlan
from maskmill.pipeline.convert.operator import mapped_sample
from maskmill.pipeline.convert.pictures import missing_picture, picture_of, places_near
from maskmill.pipeline.datasets.samples import Sample
from maskmill.pipeline.masks.run_lengths import value_counts
from maskmill.pipeline.review.subject import Item, Standing
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.schemas.arrays import ConfidenceMap, LabelMask
from maskmill.schemas.errors import FileFailure
from maskmill.schemas.labels import LabelMap

UNREAD: Final = "unread"
"""Status of a sample whose mask nobody has looked at yet."""

_SELECTION: Final = "SELECT * FROM {source}"
INDEXED: Final = pa.schema(
    [
        *(pa.field(name, pa.int64()) for name in ("n", "block")),
        *(pa.field(name, pa.string()) for name in ("key", "status", "error_code")),
        pa.field("error_message", pa.string()),
        *(pa.field(name, pa.int32()) for name in ("width", "height")),
        *(pa.field(name, pa.float64()) for name in ("confidence", "entropy", "margin", "unsure")),
        *(pa.field(name, pa.float64()) for name in ("ignored", "miou", "accuracy")),
        pa.field("stamp", pa.string()),
        pa.field("classes", pa.list_(pa.struct(
            [("class", pa.int32()), ("share", pa.float64()), ("sure", pa.float64())]
        ))),
    ]
)  # fmt: skip
BLANK: Final[dict[str, Any]] = {**dict.fromkeys(INDEXED.names), "classes": [], "stamp": ""}


class SampleReader:
    """Samples of a conversion's plan by their manifest rows; the last few stay in memory."""

    def __init__(self, plan: ConversionPlan) -> None:
        self.plan = plan
        self._local = threading.local()

    def sample(self, entry: dict[str, Any]) -> Sample:
        """The sample of a manifest row, in the target's classes.

        Raises:
            FileFailure: it cannot be read.
        """
        kept = getattr(self._local, "kept", None)
        if kept is None or kept[0] != entry["key"]:
            kept = entry["key"], mapped_sample(self.plan, entry)
            self._local.kept = kept
        sample: Sample = kept[1]
        return sample

    def picture(self, entry: dict[str, Any]) -> bytes:
        """The bytes of the sample's picture.

        Raises:
            FileFailure: there is none, or it cannot be read.
        """
        sample = self.sample(entry)
        found = picture_of(self.plan, sample, places_near(entry))
        if found is None:
            raise missing_picture(sample)
        return found.read()


class SampledSet:
    """A data set. Its index begins with names alone; :meth:`look` fills in what the masks hold."""

    command = "dataset"
    has_truth = False
    has_before = False
    layout: RunLayout | None = None

    def __init__(
        self, source: str, plan: ConversionPlan, entries: list[dict[str, Any]], identity: str
    ) -> None:
        self.source, self.identity = source, identity
        self.labels: LabelMap = plan.mapping.target
        self._reader, self._entries = SampleReader(plan), entries
        self._sizes: dict[int, list[int]] = {}
        for entry in entries:
            self._sizes.setdefault(entry["block"], []).append(entry["image_id"])
        self._read: dict[int, pa.Table] = {}
        self._stopped = threading.Event()

    def look(self) -> None:
        """Read every mask, block by block, until :meth:`stop`; for a thread of its own."""
        for block, numbers in self._sizes.items():
            rows = []
            for number in numbers:
                if self._stopped.is_set():
                    return
                rows.append(self._looked_at(self._entries[number - 1]))
            self._read[block] = pa.Table.from_pylist(rows, schema=INDEXED)

    def stop(self) -> None:
        """End :meth:`look` after the sample it is at."""
        self._stopped.set()

    def standing(self) -> Standing:
        """Running as long as masks have not been looked at."""
        state = "finished" if len(self._read) == len(self._sizes) else "running"
        return Standing(state=state, inputs=len(self._entries), note="masks are being read")

    def blocks(self) -> dict[int, str]:
        """Every block: all are listed from the beginning."""
        return {block: "read" if block in self._read else UNREAD for block in self._sizes}

    def selection(self) -> str:
        """The rows are those of the index already."""
        return _SELECTION

    def rows(self, blocks: Sequence[int]) -> list[str] | pa.Table:
        """What is known of them by now."""
        return pa.concat_tables(
            [self._read[block] if block in self._read else self._listed(block) for block in blocks]
        )

    def row(self, item: Item) -> dict[str, Any]:
        """What the mask holds, read now."""
        entry = self._entry(item)
        found = self._looked_at(entry)
        shown = {
            "key": entry["key"], "split": entry["split"], "source": self.source,
            "format": self._reader.plan.request.from_format,
        }  # fmt: skip
        return {**shown, **{name: value for name, value in found.items() if value is not None}}

    def picture(self, item: Item) -> bytes:
        """Where the data set has it, or the folder of --images."""
        return self._reader.picture(self._entry(item))

    def mask(self, item: Item) -> LabelMask:
        """As `convert` reads it."""
        return self._reader.sample(self._entry(item)).mask

    def truth(self, item: Item) -> LabelMask | None:
        """None: the masks are the truth."""
        return None

    def before(self, item: Item) -> LabelMask | None:
        """None."""
        return None

    def confidence(self, item: Item, shape: tuple[int, ...]) -> ConfidenceMap | None:
        """None."""
        return None

    def _entry(self, item: Item) -> dict[str, Any]:
        return self._entries[item.n - 1]

    def _listed(self, block: int) -> pa.Table:
        rows = [
            {**BLANK, "n": number, "block": block, "key": self._entries[number - 1]["key"],
             "status": UNREAD}
            for number in self._sizes[block]
        ]  # fmt: skip
        return pa.Table.from_pylist(rows, schema=INDEXED)

    def _looked_at(self, entry: dict[str, Any]) -> dict[str, Any]:
        row = {**BLANK, "n": entry["image_id"], "block": entry["block"], "key": entry["key"]}
        try:
            sample = self._reader.sample(entry)
        except FileFailure as failure:
            code, message = failure.code.value, str(failure)
            return {**row, "status": "failed", "error_code": code, "error_message": message}
        return {**row, "status": "ok", **_pixels(sample.mask, sample.labels)}


def _pixels(mask: LabelMask, labels: LabelMap) -> dict[str, Any]:
    values, counts = value_counts(mask)
    shares = dict(zip(values.tolist(), (counts / np.float64(mask.size)).tolist(), strict=True))
    ignored = shares.pop(labels.ignore_index, 0.0)
    classes = [{"class": value, "share": share, "sure": None} for value, share in shares.items()]
    height, width = mask.shape
    return {"width": width, "height": height, "ignored": ignored, "classes": classes}
