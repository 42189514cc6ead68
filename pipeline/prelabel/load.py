"""LoadImages: work rows -> decoded pictures at the size of the network's input."""

import hashlib
import time
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from maskmill.pipeline.pictures.decoding import DecodedImage, decode_image
from maskmill.pipeline.pictures.fingerprints import PictureFingerprint, fingerprint_of
from maskmill.pipeline.pictures.frame_place import place_of_frame
from maskmill.pipeline.prelabel.parcels import ImageFacts, Item, Parcel, each_image, pack
from maskmill.pipeline.runs.attempts import FIRST_STAGE, begin_stage
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.manifest import block_rows
from maskmill.pipeline.storage.readahead import Read, read_ahead
from maskmill.pipeline.views.pictures import needed_size, view_pictures
from maskmill.pipeline.views.plan import ViewPlan, ViewSettings, plan_views
from maskmill.pipeline.views.preprocessing import Preprocessing
from maskmill.schemas.errors import FileFailure

_OF_MANIFEST = ("image_id", "key", "uri", "output")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadImages:
    """Reads, checks and decodes every image of a block, and scales it for the network.

    An image has a picture for each scale of each of its windows: one, unless asked otherwise.
    A bad file becomes a failed item with code and message; the others of its block go on. Any other
    exception is a bug and stops the run.
    """

    layout: RunLayout
    session: str
    preprocessing: Preprocessing
    alignment: str
    image_size: int | None
    views: ViewSettings
    max_pixels: int
    max_bytes: int
    fingerprints: bool = False  # tell what each picture looks like, for the side table
    exact_decode: bool = False

    def __call__(self, pending: pa.Table) -> pa.Table:
        """A table of schema PENDING in, one of schema PARCEL out."""
        return pack(self._load_block(row) for row in pending.to_pylist())

    def _load_block(self, row: dict[str, Any]) -> Parcel:
        attempt = begin_stage(self.layout, row["block"], FIRST_STAGE, self.session)
        entries = block_rows(self.layout, row, "image_id")
        items = [Item(**{name: entry[name] for name in _OF_MANIFEST}) for entry in entries]
        read = read_ahead(item.uri for item in items)
        loaded = each_image(attempt, items, lambda item: self.load(item, read))
        attempt.finish()
        return Parcel(row["block"], loaded)

    def load(self, item: Item, read: Read) -> Item:
        """One image read, checked, decoded and scaled; or the same image as a failed one."""
        started = time.perf_counter()
        facts = ImageFacts()
        try:
            data = read(item.uri, self.max_bytes)
            facts = replace(facts, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
            image = decode_image(
                data,
                name=item.key,
                max_pixels=self.max_pixels,
                needed=None if self.exact_decode else self._needed,
            )
            facts = _facts_of(image, facts)
            seen = self._fingerprint(image, data, item.key) if self.fingerprints else None
            if place_of_frame(item.uri) is not None:
                facts = replace(facts, format="VIDEO")  # PPM is only how a frame comes here
            plan = plan_views(image.size_hw, self.views)
            pictures = tuple(
                view_pictures(
                    image.pixels,
                    plan,
                    self.preprocessing,
                    image_size=self.image_size,
                    alignment=self.alignment,
                    reduction=image.reduction,
                )
            )
        except FileFailure as failure:
            return replace(item, facts=facts).failing(failure.code, str(failure))
        facts = replace(facts, decode_ms=(time.perf_counter() - started) * 1000)
        facts = _noting_windows(facts, plan)
        return replace(item, facts=facts, pictures=pictures, fingerprint=seen)

    def _fingerprint(self, image: DecodedImage, data: bytes, name: str) -> PictureFingerprint:
        """Of all pixels: those of a reduced decode are not what other files are held against."""
        if image.reduction is not None:
            image = decode_image(data, name=name, max_pixels=self.max_pixels)
        return fingerprint_of(image.pixels)

    def _needed(self, size_hw: tuple[int, int]) -> tuple[int, int]:
        """What suffices of a picture."""
        return needed_size(
            size_hw,
            self.views,
            self.preprocessing,
            image_size=self.image_size,
            alignment=self.alignment,
        )


def _facts_of(image: DecodedImage, facts: ImageFacts) -> ImageFacts:
    height, width = image.size_hw
    return replace(
        facts,
        format=image.format,
        mode=image.mode,
        width=width,
        height=height,
        exif_orientation=image.exif_orientation,
        notes=tuple(image.notes),
    )


def _noting_windows(facts: ImageFacts, plan: ViewPlan) -> ImageFacts:
    first = plan.windows[0]
    if first is None:
        return facts
    size = f"{first.width}x{first.height}"
    return facts.noting(f"seen in {len(plan.windows)} windows of {size} pixels")
