"""Canonical Huffman codes of limited length, as deflate has them (RFC 1951, section 3.2.2)."""

from collections.abc import Iterator, Sequence

Lengths = list[int]
"""Bits of each symbol's code; 0 for a symbol without one."""

_Node = tuple[int, tuple[int, ...]]
"""How often the symbols below it occur, and which they are."""


def code_lengths(frequencies: Sequence[int], limit: int) -> Lengths:
    """Lengths that make the text of these frequencies shortest; at least two must occur.

    Where a code would be longer than ``limit`` bits, rare symbols are counted as less rare until
    none is: a few bits more than the best, and masks do not come near it.

    Raises:
        ValueError: fewer than two symbols occur.
    """
    counted = [(number, symbol) for symbol, number in enumerate(frequencies) if number]
    if len(counted) < 2:
        raise ValueError("a Huffman code needs two symbols")
    while True:
        depths = _depths(sorted(counted))
        if max(depths.values()) <= limit:
            return [depths.get(symbol, 0) for symbol in range(len(frequencies))]
        counted = [((number + 1) // 2, symbol) for number, symbol in counted]


def _depths(ascending: Sequence[tuple[int, int]]) -> dict[int, int]:
    """Depth of each symbol's leaf. Both queues stay sorted, so the rarest two are in front."""
    leaves: list[_Node] = [(number, (symbol,)) for number, symbol in ascending]
    joined: list[_Node] = []
    depths = dict.fromkeys((symbol for _, symbol in ascending), 0)
    at_leaf = at_joined = 0
    for _ in range(len(leaves) - 1):
        weight = 0
        below: tuple[int, ...] = ()
        for _ in range(2):
            is_leaf = at_joined == len(joined) or (
                at_leaf < len(leaves) and leaves[at_leaf][0] <= joined[at_joined][0]
            )
            number, symbols = leaves[at_leaf] if is_leaf else joined[at_joined]
            at_leaf, at_joined = at_leaf + is_leaf, at_joined + (not is_leaf)
            weight, below = weight + number, below + symbols
        for symbol in below:
            depths[symbol] += 1
        joined.append((weight, below))
    return depths


def codes_of(lengths: Lengths) -> list[int]:
    """The code of each symbol, its first bit lowest, as deflate writes them; 0 where none is."""
    codes = [0] * len(lengths)
    for symbol, code in _canonical(lengths):
        codes[symbol] = int(f"{code:0{lengths[symbol]}b}"[::-1], 2)
    return codes


def _canonical(lengths: Lengths) -> Iterator[tuple[int, int]]:
    """Symbols by length, then number, each with the next free code."""
    code = before = 0
    for symbol in sorted((s for s in range(len(lengths)) if lengths[s]), key=lengths.__getitem__):
        code <<= lengths[symbol] - before
        before = lengths[symbol]
        yield symbol, code
        code += 1
