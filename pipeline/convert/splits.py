"""Train, val, test: the share a sample falls in depends on its key and the seed alone."""

import hashlib
from collections.abc import Mapping
from typing import Final

from maskmill.schemas.errors import SettingsError

TOLERANCE: Final = 1e-9


def parse_shares(text: str) -> dict[str, float]:
    """``train=0.8,val=0.1,test=0.1`` as shares by name, in the written order.

    Raises:
        SettingsError: not name=number, a repeated name, a negative share, or a sum other than 1.
    """
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, equals, number = (piece.strip() for piece in part.partition("="))
        if not equals or not name or name in shares or "/" in name:
            raise _bad_shares(text, f"{part.strip()!r} is not a new name=share")
        try:
            shares[name] = float(number)
        except ValueError as error:
            raise _bad_shares(text, f"{number!r} is not a number") from error
    if any(not 0 <= share <= 1 for share in shares.values()):
        raise _bad_shares(text, "a share lies outside 0..1")
    if abs(sum(shares.values()) - 1) > TOLERANCE:
        raise _bad_shares(text, f"the shares sum to {sum(shares.values()):g}, not 1")
    return shares


def split_of(key: str, shares: Mapping[str, float], seed: int) -> str:
    """The split of one key. Adding or removing other samples never moves it.

    The first 8 bytes of SHA-256 over seed and key are a uniform number in [0, 1); the split is
    the one whose interval of cumulated shares holds it.
    """
    digest = hashlib.sha256(f"{seed}\0{key}".encode()).digest()
    position = int.from_bytes(digest[:8], "big") / 2**64
    passed = 0.0
    chosen = ""
    for name, share in shares.items():
        if share > 0:
            chosen = name
        passed += share
        if position < passed:
            break
    return chosen


def _bad_shares(text: str, reason: str) -> SettingsError:
    return SettingsError(
        f"--split {text!r}: {reason}; write for example train=0.8,val=0.1,test=0.1"
    )
