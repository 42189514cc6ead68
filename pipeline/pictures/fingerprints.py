"""What tells whether two pictures are the same: a hash of their pixels, and one of what is seen.

The perceptual hash is the DCT hash of C. Zauner, "Implementation and Benchmarking of Perceptual
Image Hash Functions" (2010), section 3.2.1, with 64 frequencies beside the mean in place of 63:
the picture is reduced to 32 x 32 grey pixels and transformed by a two-dimensional DCT-II; each of
the 64 lowest frequencies gives a bit, 1 where its coefficient is above the median of them. Another
compression or size moves few bits; an unrelated picture differs in about half. Beside it stand the
mean colours of 4 x 4 fields: small dark things before two different skies have the same hash.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from maskmill.schemas.arrays import RgbImage

HASH_BITS: Final = 64
SIDE: Final = 32
"""Pixels of the reduced picture, each way."""

FIELDS: Final = 4
"""Fields of one mean colour each, each way."""

FLAT: Final = 1.0
"""Grey levels (root mean square over the 64 frequencies) below which bits are noise."""


@dataclass(frozen=True, slots=True)
class PictureFingerprint:
    """``pixels_sha256`` is of the RGB pixels and their size, in hex.

    ``perceptual_hash`` is 64 bits; None for a picture of one tone, whose bits would be noise.
    ``tones`` are the mean colours of FIELDS x FIELDS fields, row by row, three bytes each.
    """

    pixels_sha256: str
    perceptual_hash: int | None
    tones: bytes


def fingerprint_of(pixels: RgbImage) -> PictureFingerprint:
    """The fingerprint of an (H, W, 3) uint8 picture."""
    height, width = pixels.shape[:2]
    digest = hashlib.sha256(f"{width}x{height}".encode())
    digest.update(np.ascontiguousarray(pixels).data)
    reduced = Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BOX, reducing_gap=2.0)
    fields = reduced.resize((FIELDS, FIELDS), Image.Resampling.BOX)
    return PictureFingerprint(digest.hexdigest(), _hash_of(reduced), fields.tobytes())


def _hash_of(reduced: Image.Image) -> int | None:
    """64 bits, the lowest frequency in the highest; None where the picture is flatter than FLAT."""
    grey = np.asarray(reduced.convert("L"), np.float64)
    spectrum = (_cosines() @ grey @ _cosines().T)[_lowest_frequencies()]
    if np.sqrt(np.mean(np.square(spectrum))) < FLAT * SIDE / np.sqrt(HASH_BITS):
        return None
    bits = np.packbits(spectrum > np.median(spectrum))
    return int.from_bytes(bits.tobytes(), "big")


@lru_cache(maxsize=1)
def _cosines() -> npt.NDArray[np.float64]:
    """(SIDE, SIDE) orthonormal DCT-II: row k holds frequency k."""
    frequency, place = np.mgrid[:SIDE, :SIDE]
    waves: npt.NDArray[np.float64] = np.cos(
        np.pi * (2 * place + 1) * frequency / (2 * SIDE)
    ) * np.sqrt(2 / SIDE)
    waves[0] /= np.sqrt(2)
    return waves


@lru_cache(maxsize=1)
def _lowest_frequencies() -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Rows and columns of the HASH_BITS lowest frequencies but the mean, by their sum."""
    rows, columns = np.divmod(np.arange(SIDE * SIDE), SIDE)
    order = np.lexsort((rows, rows + columns))[1 : HASH_BITS + 1]
    return rows[order], columns[order]
