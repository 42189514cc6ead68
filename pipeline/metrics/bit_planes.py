"""Flags of a picture as bits, 64 to a word: grown and counted at a fraction of what bytes cost.

A plane is flat: the rows lie one after the other, each followed by as many unused bits as anything
is grown sideways, so a shift of the whole plane moves every pixel and what leaves a row meets
nothing of the next. Growing by squares needs one step per doubling: a square of radius a, put down
at -s, 0 and s, makes one of radius a + s. With s <= a + 1 this holds at the picture's edge as well,
where the part of a square that lies outside is lost.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from maskmill.schemas.arrays import BoolMask, LabelMask

Plane = npt.NDArray[np.uint64]
"""(H * words,) bits in the order of the pixels, lowest first; unused bits may be anything."""

_WORD = 64
_BAND = 1 << 17  # pixels
_LITTLE = np.dtype("<u8")  # the order in which packbits fills bytes, on any machine


@dataclass(frozen=True, slots=True)
class PlaneLayout:
    """How pictures of one size lie in planes: ``words`` to a row."""

    height: int
    width: int
    words: int

    @classmethod
    def of(cls, shape: tuple[int, ...], reach: int) -> "PlaneLayout":
        """Room for pictures of (H, W) that are grown by up to ``reach`` pixels."""
        return cls(shape[0], shape[1], -(-(shape[1] + reach) // _WORD))

    def pack(self, flags: BoolMask) -> Plane:
        """The plane of (H, W) flags; unused bits are 0."""
        plane: Plane = self.values(flags.view(np.uint8), (1,))[0]
        return plane

    def values(self, picture: LabelMask, values: Sequence[int]) -> Plane:
        """(N, H * words): where an (H, W) picture has each of these values; unused bits are 0."""
        span = self.words * _WORD
        planes = np.zeros((len(values), self.height * self.words), dtype=_LITTLE)
        packed = planes.view(np.uint8)
        rows = max(1, _BAND // span)  # so few that they stay in the cache for every value
        band = np.zeros((rows, span), dtype=picture.dtype)
        flags = np.zeros(rows * span, dtype=np.bool_)
        flat, inside = band.ravel(), slice(0, self.width)
        for top in range(0, self.height, rows):
            part = picture[top : top + rows]
            band[: len(part), inside] = part
            size, start = len(part) * span, top * span // 8
            for number, value in enumerate(values):
                np.equal(flat[:size], value, out=flags[:size])
                packed[number, start : start + size // 8] = np.packbits(
                    flags[:size], bitorder="little"
                )
        if 0 in values:
            planes &= self.inner(0)
        return planes

    def unpack(self, plane: Plane) -> BoolMask:
        """(H, W) flags of a plane."""
        bits = np.unpackbits(plane.view(np.uint8), bitorder="little").view(np.bool_)
        return bits.reshape(self.height, -1)[:, : self.width]

    def places(self, plane: Plane) -> npt.NDArray[np.intp]:
        """Flat positions y * W + x of the pixels that are set; quick where these are few."""
        busy = np.flatnonzero(plane)
        bits = np.unpackbits(plane[busy].view(np.uint8), bitorder="little")
        set_bits = np.flatnonzero(bits)
        y, word = np.divmod(busy[set_bits // _WORD], self.words)
        x = word * _WORD + set_bits % _WORD
        inside = x < self.width
        places: npt.NDArray[np.intp] = (y * self.width + x)[inside]
        return places

    def inner(self, depth: int) -> Plane:
        """The pixels that are not within ``depth`` of the picture's edge."""
        row = np.zeros(self.words * _WORD, dtype=np.bool_)
        row[depth : max(depth, self.width - depth)] = True
        plane = np.zeros((self.height, self.words), dtype=_LITTLE)
        plane[depth : max(depth, self.height - depth)] = np.packbits(row, bitorder="little").view(
            _LITTLE
        )
        return plane.ravel()

    def in_squares(self, plane: Plane) -> Plane:
        """The pixels of a plane that a 2 x 2 square of it covers; unused bits must be 0."""
        corners = plane & _next(plane)
        corners[: -self.words] &= corners[self.words :].copy()
        corners[-self.words :] = 0
        squares = corners | corners << np.uint64(1)
        squares[1:] |= corners[:-1] >> np.uint64(_WORD - 1)
        squares[self.words :] |= squares[: -self.words].copy()
        return squares

    def touching(self, planes: Plane) -> Plane:
        """Pixels beside one (of eight) of another value; ``planes`` hold where values are, or none.

        The values are numbered in binary: pixels differ where some digit of their numbers does.
        """
        inside = self.inner(0)
        touching = np.zeros_like(inside)
        for digit in range(len(planes).bit_length()):
            numbers = [place for place in range(len(planes)) if place + 1 >> digit & 1]
            ones = np.bitwise_or.reduce(planes[numbers], axis=0)
            touching |= (self.grown(ones, 1) & ~ones) | (self.grown(inside & ~ones, 1) & ones)
        return touching & inside

    def grown(self, plane: Plane, radius: int) -> Plane:
        """Set wherever a pixel within ``radius`` (Chebyshev) is; unused bits must be 0."""
        return next(self.growing(plane, (radius,)))

    def growing(self, plane: Plane, radii: tuple[int, ...]) -> Iterator[Plane]:
        """As :meth:`grown`, for ascending radii, each from the one before."""
        before = 0
        for radius in radii:
            while before < radius:
                step = min(radius - before, before + 1)
                plane = _spread(_spread(plane, step), step * self.words * _WORD)
                before += step
            yield plane


def _spread(plane: Plane, bits: int) -> Plane:
    """The plane, and itself moved by so many bits either way."""
    words, rest = divmod(bits, _WORD)
    if not rest:
        spread = plane.copy()
        _or_words(spread, plane, plane, words)
        return spread
    shift, back = np.uint64(rest), np.uint64(_WORD - rest)
    up, down = plane << shift, plane >> shift
    if not words:
        up |= plane
        up |= down
        spread = up
    else:
        spread = plane.copy()
        _or_words(spread, up, down, words)
    _or_words(spread, plane >> back, plane << back, words + 1)
    return spread


def _or_words(target: Plane, up: Plane, down: Plane, words: int) -> None:
    """Add ``up`` moved to so many words above its own, and ``down`` to so many below."""
    kept = len(target) - words
    if kept > 0:
        target[words:] |= up[:kept]
        target[:kept] |= down[words:]


def _next(plane: Plane) -> Plane:
    """Each pixel takes the bit of the one to its right."""
    moved = plane >> np.uint64(1)
    moved[:-1] |= plane[1:] << np.uint64(_WORD - 1)
    return moved


def count(plane: Plane) -> int:
    """How many bits are set."""
    return int(cv2.norm(plane.view(np.uint8), cv2.NORM_HAMMING))


def count_shared(planes: Plane, others: Plane) -> npt.NDArray[np.int64]:
    """(N, M) how many bits each of (N, words) planes shares with each of (M, words) others.

    Of two planes, |a and b| = (|a| + |b| - |a xor b|) / 2; the distance to nothing is the size.
    """
    nothing = np.zeros((1, planes.shape[1]), dtype=planes.dtype)
    ours = np.concatenate((nothing, planes)).view(np.uint8)
    theirs = np.concatenate((nothing, others)).view(np.uint8)
    nearest, order = cv2.batchDistance(
        ours, theirs, cv2.CV_32S, normType=cv2.NORM_HAMMING, K=len(theirs)
    )  # it gives them in order of distance, or not at all
    apart = np.empty(nearest.shape, dtype=np.int64)
    np.put_along_axis(apart, order, nearest, axis=1)
    shared: npt.NDArray[np.int64] = (apart[1:, :1] + apart[:1, 1:] - apart[1:, 1:]) // 2
    return shared
