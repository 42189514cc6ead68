"""What the C library does with memory that is freed: the process's setting, and given back."""

import ctypes
from typing import Any

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # mallopt(3), glibc's malloc.h
_MOST_MMAP_THRESHOLD = 32 << 20
_HEAP_BYTES = 64 << 20
_NEVER = 1 << 30
_is_kept = False


def keep_freed_memory() -> None:
    """Let freed memory be used again by the next picture, in place of going back to the system.

    A network takes and frees some 40 MB for every picture. glibc returns them each time, and the
    10,000 page faults of getting them anew were a quarter of all CPU time. Nothing is done where
    the C library has no such setting.
    """
    global _is_kept
    _is_kept = _set(trim=_NEVER, pad=_HEAP_BYTES)


def give_freed_memory_back() -> None:
    """Return what :func:`keep_freed_memory` kept, and the setting that glibc ends up with itself.

    Its thresholds adapt to what is freed, up to 32 MiB and twice as much; once set they stay.
    """
    global _is_kept
    if _is_kept:
        _set(trim=2 * _MOST_MMAP_THRESHOLD, pad=128 << 10)
        _c_library().malloc_trim(0)
        _is_kept = False


def _set(*, trim: int, pad: int) -> bool:
    library = _c_library()
    if not hasattr(library, "mallopt") or not hasattr(library, "malloc_trim"):
        return False
    library.mallopt(_MMAP_THRESHOLD, _MOST_MMAP_THRESHOLD)
    library.mallopt(_TOP_PAD, pad)
    return bool(library.mallopt(_TRIM_THRESHOLD, trim))


def _c_library() -> Any:
    try:
        return ctypes.CDLL(None)
    except (OSError, TypeError):  # Windows has no such handle
        return None
