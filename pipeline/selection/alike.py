"""Which of many images are alike: each is held against those that are kept.

Three degrees: ``exact`` (the same file, byte for byte), ``pixels`` (another file of the same
pixels), ``near`` (perceptual hashes a few bits apart, mean colours and proportions alike, and
features alike where they are known). An image is always alike to the very image that is kept in its
place, never through a third one: chains do not grow.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.selection.hamming import KeptHashes, distances

Kind = Literal["exact", "pixels", "near"]

THRESHOLD: Final = 10
"""Bits by which two hashes of one picture may differ."""

MAX_THRESHOLD: Final = 12
TONE_STEP: Final = 16
"""Levels by which a mean colour of two copies may differ."""

PROPORTION_STEP: Final = 0.05
"""Logarithm of width / height by which two copies may differ: thumbnails are rounded."""

LEAST_COSINE: Final = 0.9
"""Of two copies' features; see docs/select.md for what was measured."""

_CHUNK = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Looks:
    """What N images look like, as arrays; the order is that in which they would be kept.

    Digests are 32 bytes, of length 0 where an image could not be read. ``features`` are of length
    1, and rows of zeros where they are not known.
    """

    sha256: Sequence[bytes]
    pixels_sha256: Sequence[bytes]
    hashes: npt.NDArray[np.uint64]  # (N,)
    hashed: npt.NDArray[np.bool_]  # (N,) False: no hash, a picture of one tone or none at all
    tones: npt.NDArray[np.uint8]  # (N, 48)
    proportions: npt.NDArray[np.float32]  # (N,) logarithm of width / height
    features: npt.NDArray[np.float16] | None = None  # (N, D)

    def __len__(self) -> int:
        return len(self.sha256)


@dataclass(frozen=True, slots=True)
class Copy:
    """Image ``place`` is alike to ``of``, which is kept. ``distance`` in bits; None: no hash."""

    place: int
    of: int
    kind: Kind
    distance: int | None


@dataclass(slots=True)
class _Kept:
    """The images kept so far, by each way of finding them."""

    by_file: dict[bytes, int] = field(default_factory=dict)
    by_pixels: dict[bytes, int] = field(default_factory=dict)


def find_copies(looks: Looks, *, threshold: int = THRESHOLD, always_kept: int = 0) -> list[Copy]:
    """Every image that is alike to an earlier one that is kept, in their order.

    Args:
        looks: the images, those to be kept first.
        threshold: bits by which near hashes may differ, 0 to MAX_THRESHOLD.
        always_kept: so many of the first are kept whatever they are alike to.
    """
    same = _same_files(looks, always_kept)
    found = {copy.place: copy for copy in same}
    rest = np.array([place for place in range(len(looks)) if place not in found], np.int64)
    near = _near(looks, rest[looks.hashed[rest]], threshold, always_kept)
    found |= {copy.place: copy for copy in near}
    return [_settled(looks, found, found[place]) for place in sorted(found)]


def _same_files(looks: Looks, always_kept: int) -> Iterator[Copy]:
    """Copies by the bytes of the file, or of the pixels."""
    kept = _Kept()
    for place, (file, pixels) in enumerate(zip(looks.sha256, looks.pixels_sha256, strict=True)):
        of = kept.by_file.get(file) if file else None
        kind: Kind = "exact"
        if of is None and pixels:
            of, kind = kept.by_pixels.get(pixels), "pixels"
        if of is None or place < always_kept:
            kept.by_file.setdefault(file, place)
            kept.by_pixels.setdefault(pixels, place)
        else:
            yield Copy(place, of, kind, 0 if looks.hashed[place] else None)


def _near(
    looks: Looks, places: npt.NDArray[np.int64], threshold: int, always_kept: int
) -> Iterator[Copy]:
    """Copies by hash among ``places``, chunk by chunk against the kept, then within the chunk."""
    kept = KeptHashes(threshold)
    for first in range(0, len(places), _CHUNK):
        chunk = places[first : first + _CHUNK]
        best = _best_kept(looks, kept, chunk)
        inner = _pairs_within(looks, chunk, threshold)
        for row, place in enumerate(chunk.tolist()):
            of, bits = best.get(place, (-1, threshold + 1))
            for other, distance in inner.get(row, ()):
                if distance < bits and other in kept.fresh:
                    of, bits = other, distance
            if of < 0 or place < always_kept:
                kept.add(place, looks.hashes[place])
            else:
                yield Copy(place, of, "near", bits)
        kept.settle()


def _best_kept(
    looks: Looks, kept: KeptHashes, chunk: npt.NDArray[np.int64]
) -> dict[int, tuple[int, int]]:
    """The nearest kept image of each of a chunk: (place, bits); the earlier where two are."""
    rows, others, bits = kept.near(looks.hashes[chunk])
    places = chunk[rows]
    alike = _look_alike(looks, places, others)
    best: dict[int, tuple[int, int]] = {}
    order = np.lexsort((others[alike], bits[alike]))
    for index in np.flatnonzero(alike)[order].tolist():
        best.setdefault(int(places[index]), (int(others[index]), int(bits[index])))
    return best


def _pairs_within(
    looks: Looks, chunk: npt.NDArray[np.int64], threshold: int
) -> dict[int, list[tuple[int, int]]]:
    """Of each row of a chunk, the earlier images of it that are alike, and their bits."""
    hashes = looks.hashes[chunk]
    bits = distances(hashes[:, None], hashes[None, :])
    rows, columns = np.nonzero(np.tril(bits <= threshold, -1))
    alike = _look_alike(looks, chunk[rows], chunk[columns])
    found: dict[int, list[tuple[int, int]]] = {}
    for row, column in zip(rows[alike].tolist(), columns[alike].tolist(), strict=True):
        found.setdefault(row, []).append((int(chunk[column]), int(bits[row, column])))
    return found


def _look_alike(
    looks: Looks, first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """Whether pairs with near hashes are alike in colours, proportions and features as well."""
    tones = np.abs(looks.tones[first].astype(np.int16) - looks.tones[second])
    alike: npt.NDArray[np.bool_] = tones.max(axis=1, initial=0) <= TONE_STEP
    alike &= np.abs(looks.proportions[first] - looks.proportions[second]) <= PROPORTION_STEP
    similar = similarities(looks, first, second)
    return alike if similar is None else alike & ~(similar < LEAST_COSINE)


def similarities(
    looks: Looks, first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32] | None:
    """Cosines of pairs' features; NaN where one is not known, None where none is."""
    if looks.features is None:
        return None
    one, other = (looks.features[places].astype(np.float32) for places in (first, second))
    product = np.einsum("nd,nd->n", one, other)
    known = one.any(axis=1) & other.any(axis=1)
    return np.where(known, product, np.float32(np.nan))


def _settled(looks: Looks, found: dict[int, Copy], copy: Copy) -> Copy:
    """The copy with the image that is kept in the end: what it is a copy of may be near another."""
    of = found.get(copy.of)
    if of is None:
        return copy
    bits = int(distances(looks.hashes[copy.place], looks.hashes[of.of]))
    return Copy(copy.place, of.of, of.kind, bits if looks.hashed[copy.place] else None)
