"""Label Studio's brush encoding: run lengths as a bit stream (rle-pack of thi.ng/umbrella).

Most significant bit first: 32 bits number of values (H * W * 4, row-major RGBA), 5 bits word size
less 1, four times 4 bits of a length field's size less 1, then tokens: 1 bit (1 = run), 2 bits
length field, the length less 1, and one value of a run or every value of a literal block.
Facts: label_studio_sdk 2.1.2, converter/brush.py.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.masks.run_lengths import mask_to_lengths
from maskmill.schemas.arrays import BoolMask
from maskmill.schemas.errors import DocumentFailure, ErrorCode

WORD_BITS: Final = 8
LENGTH_BITS: Final = (3, 4, 8, 16)
LONGEST: Final = 1 << LENGTH_BITS[-1]
CHANNELS: Final = 4
_HEADER_BITS: Final = 32 + 5 + 4 * len(LENGTH_BITS)


def mask_to_brush(mask: BoolMask) -> list[int]:
    """The byte list of an (H, W) bool mask: 255 in all four channels inside, 0 outside."""
    lengths = mask_to_lengths(mask) * CHANNELS
    inside = np.arange(len(lengths)) % 2 == 1
    inside, lengths = inside[lengths > 0], lengths[lengths > 0]
    pieces = -(-lengths // LONGEST)
    values = np.repeat(inside, pieces) * np.int64(255)
    last = np.cumsum(pieces) - 1
    short = np.full(len(values), LONGEST, dtype=np.int64)
    short[last] = lengths - (pieces - 1) * LONGEST
    bits = np.concatenate([_header(mask.size * CHANNELS), _token_bits(short, values)])
    if len(bits) % 8 == 0:  # the SDK ends with a zero byte then; kept so that bytes are the same
        bits = np.concatenate([bits, np.zeros(8, dtype=np.uint8)])
    return [int(byte) for byte in np.packbits(bits)]


def brush_to_mask(data: object, size_hw: tuple[int, int], *, name: str) -> BoolMask:
    """(H, W) bool: where the fourth channel is above 0.

    Raises:
        DocumentFailure: MALFORMED where it is no byte list or ends early, UNSAFE_SIZE where it
            declares or carries another number of values than H * W * 4.
    """
    if isinstance(data, int):  # for which bytes() would give as many zeros
        raise _malformed(name, "rle must be a list of bytes")
    try:
        stream = bytes(data)  # type: ignore[call-overload]
    except (TypeError, ValueError) as error:
        raise _malformed(name, "rle must be a list of bytes") from error
    if len(stream) * 8 < _HEADER_BITS:
        raise _malformed(name, "rle must be a list of bytes with a header")
    total = size_hw[0] * size_hw[1] * CHANNELS
    declared = int.from_bytes(stream[:4], "big")
    if declared != total:
        raise DocumentFailure(
            ErrorCode.UNSAFE_SIZE,
            f"{name}: the brush declares {declared:,} values, a picture of {size_hw[1]} x "
            f"{size_hw[0]} has {total:,}; it was made for another picture",
        )
    values = _tokens_to_values(stream, total, name)
    return values.reshape(*size_hw, CHANNELS)[:, :, CHANNELS - 1] > 0


def _header(total: int) -> npt.NDArray[np.uint8]:
    text = f"{total:032b}{WORD_BITS - 1:05b}" + "".join(f"{bits - 1:04b}" for bits in LENGTH_BITS)
    return np.frombuffer(text.encode(), dtype=np.uint8) - ord("0")


def _token_bits(
    lengths: npt.NDArray[np.int64], values: npt.NDArray[np.int64]
) -> npt.NDArray[np.uint8]:
    """The bits of run tokens, each with the smallest length field that holds it."""
    kind = np.searchsorted([1 << bits for bits in LENGTH_BITS], lengths)
    field = np.array(LENGTH_BITS)[kind]
    word = ((4 | kind) << field | (lengths - 1)) << WORD_BITS | values
    size = 3 + field + WORD_BITS
    widest = 3 + LENGTH_BITS[-1] + WORD_BITS
    shifts = size[:, None] - 1 - np.arange(widest)
    bits = (word[:, None] >> np.maximum(shifts, 0) & 1).astype(np.uint8)
    kept: npt.NDArray[np.uint8] = bits[shifts >= 0]
    return kept


def _tokens_to_values(stream: bytes, total: int, name: str) -> npt.NDArray[np.uint8]:
    word_bits, fields = _read_header(stream, name)
    padded = stream + bytes(8)
    end = len(stream) * 8
    at, done = _HEADER_BITS, 0
    parts: list[npt.NDArray[np.uint8]] = []
    runs: list[int] = []
    values: list[int] = []

    def take(bits: int) -> int:
        nonlocal at
        word = int.from_bytes(padded[at >> 3 : (at >> 3) + 8], "big")
        shift = 64 - (at & 7) - bits
        at += bits
        return word >> shift & ((1 << bits) - 1)

    while done < total:
        is_run, kind = take(1), take(2)
        length = take(fields[kind]) + 1
        done += length
        if at + (1 if is_run else length) * word_bits > end or done > total:
            raise _malformed(name, "the brush stream ends early or holds too many values")
        if is_run:
            runs.append(length)
            values.append(take(word_bits))
            continue
        parts.append(_repeat(values, runs))
        runs, values = [], []
        parts.append(_literal(stream, at, length))
        at += length * word_bits
    return np.concatenate([*parts, _repeat(values, runs)])


def _read_header(stream: bytes, name: str) -> tuple[int, list[int]]:
    bits = int.from_bytes(stream[4:8], "big")
    word_bits = (bits >> 27) + 1
    fields = [(bits >> 23 - 4 * number & 15) + 1 for number in range(len(LENGTH_BITS))]
    if word_bits != WORD_BITS:
        raise _malformed(name, f"words of {word_bits} bits; only {WORD_BITS} are known")
    return word_bits, fields


def _repeat(values: list[int], runs: list[int]) -> npt.NDArray[np.uint8]:
    return np.repeat(np.array(values, dtype=np.uint8), runs)


def _literal(stream: bytes, at: int, count: int) -> npt.NDArray[np.uint8]:
    """``count`` bytes from bit ``at``."""
    first, shift = at >> 3, at & 7
    block = np.frombuffer(stream[first : first + count + 1] + b"\0", dtype=np.uint8)
    joined = block[:count].astype(np.uint16) << 8 | block[1 : count + 1]
    return (joined >> (8 - shift) & 255).astype(np.uint8)


def _malformed(name: str, reason: str) -> DocumentFailure:
    return DocumentFailure(ErrorCode.MALFORMED, f"{name}: {reason}")
