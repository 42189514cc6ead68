"""A zlib stream made from runs of equal bytes, at a cost that follows the runs, not the bytes.

A run is its byte, then copies of what lies one byte before: the literal, as many matches of 258 as
fit, a shorter one. That is what zlib's run-length strategy finds by looking at every byte. Blocks
have codes of their own (RFC 1951, 3.2.7); the checksum is summed over runs (RFC 1950, 9).
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.masks.huffman import Lengths, code_lengths, codes_of

Indices = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

_HEADER = b"\x78\x01"  # deflate, a window of 32 KiB
_MODULUS = 65521
_LONGEST, _SHORTEST = 258, 3  # matches
_END = 256  # tokens below are literals, those above matches of so many bytes more
_BLOCK_RUNS = 1 << 16
_LENGTH_ORDER = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)
_FIRST_LENGTHS = (3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83,
                  99, 115, 131, 163, 195, 227, 258)  # fmt: skip
_EXTRA_BITS = (0,) * 8 + tuple(bits for bits in range(1, 6) for _ in range(4)) + (0,)
_MATCHES = np.arange(_SHORTEST, _LONGEST + 1)
_SYMBOLS = np.searchsorted(_FIRST_LENGTHS, _MATCHES, side="right") - 1  # of each match, from 0


@dataclass(frozen=True, slots=True)
class ByteRuns:
    """``size`` bytes: ``values`` (N,) uint8, each from its place in ``starts`` (N,) to the next.

    N is 1 or more, the first start 0, and starts ascend.
    """

    starts: Indices
    values: npt.NDArray[np.uint8]
    size: int

    @property
    def lengths(self) -> Indices:
        """(N,) bytes of each run, 1 or more."""
        return np.diff(self.starts, append=self.size)


def deflated_runs(runs: ByteRuns) -> bytes:
    """The zlib stream of the bytes; the same runs give the same stream everywhere."""
    bits, lengths = _BitStream(), runs.lengths
    for start in range(0, len(lengths), _BLOCK_RUNS):
        part = slice(start, start + _BLOCK_RUNS)
        tokens = _tokens(runs.values[part], lengths[part])
        _write_block(bits, tokens, is_last=start + _BLOCK_RUNS >= len(lengths))
    return _HEADER + bits.finished() + _checksum(runs, lengths).to_bytes(4, "big")


@dataclass(slots=True)
class _BitStream:
    """Bits from the lowest of each byte on; ``_rest`` holds those that fill no word yet."""

    _parts: list[bytes] = field(default_factory=list)
    _rest: int = 0
    _bits: int = 0

    def write(self, values: Words, lengths: npt.NDArray[np.uint8]) -> None:
        """Values of 0 to 32 bits each, in their order."""
        stops = np.cumsum(lengths, dtype=np.int64) + self._bits
        places = stops - lengths
        shifted = values << (places & 31).astype(np.uint64)
        words = np.zeros(int(stops[-1] >> 5) + 2, np.uint64)
        index = places >> 5
        firsts = np.flatnonzero(np.diff(index, prepend=-1))
        joined = np.bitwise_or.reduceat(shifted, firsts)
        words[index[firsts]] = joined & 0xFFFFFFFF
        words[index[firsts] + 1] |= joined >> 32
        words[0] |= np.uint64(self._rest)
        full, self._bits = divmod(int(stops[-1]), 32)
        self._parts.append(words[:full].astype("<u4").tobytes())
        self._rest = int(words[full])

    def finished(self) -> bytes:
        """All of it, filled up to a byte."""
        rest = self._rest.to_bytes(8, "little")[: -(-self._bits // 8)]
        return b"".join([*self._parts, rest])


def _tokens(values: npt.NDArray[np.uint8], lengths: Indices) -> npt.NDArray[np.uint16]:
    """What is written for the runs, the end of the block included."""
    matches, rest = np.divmod(lengths - 1, _LONGEST)
    is_short = rest < _SHORTEST  # then its bytes themselves
    tails = np.where(is_short, rest, 1)
    stops = np.cumsum(1 + matches + tails)
    tokens = np.full(stops[-1] + 1, _END + _LONGEST, np.uint16)
    tokens[-1] = _END
    tokens[stops - tails - matches - 1] = values
    last, literal = np.where(is_short, values, _END + rest), stops[tails == 2] - 2
    tokens[stops[tails > 0] - 1] = last[tails > 0]
    tokens[literal] = values[tails == 2]
    return tokens


def _write_block(bits: _BitStream, tokens: npt.NDArray[np.uint16], *, is_last: bool) -> None:
    found = np.bincount(tokens, minlength=_END + _LONGEST + 1)
    of_matches = np.bincount(_SYMBOLS, found[_END + _SHORTEST :], minlength=len(_FIRST_LENGTHS))
    frequencies = [*found[: _END + 1].tolist(), *of_matches.astype(int).tolist()]
    lengths = code_lengths(frequencies, 15)
    _write_header(bits, lengths, is_last)
    values, widths = _token_codes(lengths)
    bits.write(values[tokens], widths[tokens])


def _token_codes(lengths: Lengths) -> tuple[Words, npt.NDArray[np.uint8]]:
    """Bits of each token and their number: its code, and of a match its rest and the distance."""
    codes, widths = np.array(codes_of(lengths), np.uint64), np.array(lengths, np.uint8)
    extra = np.array(_EXTRA_BITS, np.uint8)[_SYMBOLS]
    rest = (_MATCHES - np.array(_FIRST_LENGTHS)[_SYMBOLS]).astype(np.uint64)
    of_symbols = widths[_END + 1 :][_SYMBOLS]
    matches = codes[_END + 1 :][_SYMBOLS] | rest << of_symbols.astype(np.uint64)
    unused = np.zeros(_SHORTEST - 1, np.uint64)
    return (
        np.concatenate([codes[: _END + 1], unused, matches]),
        # The distance, one byte, is the only one: a 0 of one bit.
        np.concatenate([widths[: _END + 1], unused.astype(np.uint8), of_symbols + extra + 1]),
    )


def _write_header(bits: _BitStream, lengths: Lengths, is_last: bool) -> None:
    """Kind of block, then the lengths of its codes, coded themselves."""
    used = max(symbol for symbol, length in enumerate(lengths) if length) + 1
    entries = _length_entries([*lengths[:used], 1])  # 1: the code of the one distance
    frequencies = [0] * 19
    for symbol, _, _ in entries:
        frequencies[symbol] += 1
    if sum(map(bool, frequencies)) == 1:
        frequencies[0] += 1
    meta = code_lengths(frequencies, 7)
    codes = codes_of(meta)
    sent = max(place for place, symbol in enumerate(_LENGTH_ORDER) if meta[symbol]) + 1
    fields = [(int(is_last), 1), (2, 2), (used - 257, 5), (0, 5), (sent - 4, 4)]
    fields += [(meta[symbol], 3) for symbol in _LENGTH_ORDER[:sent]]
    for symbol, rest, width in entries:
        fields += [(codes[symbol], meta[symbol]), (rest, width)]
    values, widths = zip(*fields, strict=True)
    bits.write(np.array(values, np.uint64), np.array(widths, np.uint8))


def _length_entries(lengths: Lengths) -> list[tuple[int, int, int]]:
    """(symbol, rest, bits of the rest): lengths as they are, three zeros and more at a time."""
    entries, place = [], 0
    while place < len(lengths):
        stop = place
        while stop < len(lengths) and not lengths[stop] and stop - place < 138:
            stop += 1
        zeros = stop - place
        if zeros > 10:
            entries.append((18, zeros - 11, 7))
        elif zeros > 2:
            entries.append((17, zeros - 3, 3))
        else:
            entries.append((lengths[place], 0, 0))
            stop = place + 1
        place = stop
    return entries


def _checksum(runs: ByteRuns, lengths: Indices) -> int:
    """Adler-32: the sum of all bytes, and that of its value after each byte, plus one each."""
    values = runs.values.astype(np.int64)
    total = 1 + int((values * (lengths % _MODULUS)).sum())
    # A byte counts once for itself and each byte behind it: an arithmetic series over a run.
    first = runs.size - runs.starts
    series = lengths * (2 * first - lengths + 1) // 2
    weighted = runs.size + int((values * (series % _MODULUS)).sum())
    return (weighted % _MODULUS) << 16 | total % _MODULUS
