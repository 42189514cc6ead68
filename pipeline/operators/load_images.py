"""LoadImages: work rows -> decoded pictures at the size of the network's input."""

import hashlib
import time
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from pipeline.attempts import begin_stage
from pipeline.filesystems import read_bytes
from pipeline.images import DecodedImage, decode_image
from pipeline.layout import RunLayout
from pipeline.models.preparation import prepare
from pipeline.models.spec import Preprocessing
from pipeline.operators.isolation import each_image
from pipeline.operators.parcels import ImageFacts, Item, Parcel, pack
from schemas.errors import FileFailure


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadImages:
    """Reads, checks and decodes every image of a block, and scales it for the network.

    A bad file becomes a failed item with code and message; the others of its block go on. Any other
    exception is a bug and stops the run.
    """

    layout: RunLayout
    session: str
    preprocessing: Preprocessing
    image_size: int | None
    max_pixels: int
    max_bytes: int

    def __call__(self, work: pa.Table) -> pa.Table:
        """A table of schema WORK in, one of schema PARCEL out."""
        return pack(self._load_block(row) for row in work.to_pylist())

    def _load_block(self, row: dict[str, Any]) -> Parcel:
        attempt = begin_stage(self.layout, row["block"], "load", self.session)
        items = tuple(Item(**image) for image in row["images"])
        loaded = tuple(each_image(attempt, items, self._load))
        attempt.finish()
        return Parcel(row["block"], loaded)

    def _load(self, item: Item) -> Item:
        started = time.perf_counter()
        facts = ImageFacts()
        try:
            data = read_bytes(item.uri, limit=self.max_bytes)
            facts = replace(facts, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
            image = decode_image(data, name=item.key, max_pixels=self.max_pixels)
            facts = _facts_of(image, facts)
            picture = prepare(image.pixels, self.preprocessing, image_size=self.image_size)
        except FileFailure as failure:
            return replace(item, facts=facts).failing(failure.code, str(failure))
        facts = replace(facts, decode_ms=(time.perf_counter() - started) * 1000)
        return replace(item, facts=facts, pictures=(picture,))


def _facts_of(image: DecodedImage, facts: ImageFacts) -> ImageFacts:
    height, width = image.pixels.shape[:2]
    return replace(
        facts,
        format=image.format,
        mode=image.mode,
        width=width,
        height=height,
        exif_orientation=image.exif_orientation,
        notes=tuple(image.notes),
    )
