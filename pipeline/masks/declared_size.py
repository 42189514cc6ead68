"""The size a document declares for a mask, checked before anything of that size is allocated."""

from maskmill.pipeline.masks.picture import MAX_PIXELS
from maskmill.schemas.errors import DocumentFailure, ErrorCode


def declared_size(height: object, width: object, *, name: str) -> tuple[int, int]:
    """(height, width) that a document declares, before anything of that size is allocated.

    Raises:
        DocumentFailure: MALFORMED where they are no positive whole numbers, UNSAFE_SIZE beyond 2^28
            pixels.
    """
    rows, columns = _whole(height), _whole(width)
    if rows < 1 or columns < 1:
        raise DocumentFailure(
            ErrorCode.MALFORMED,
            f"{name}: height {height!r} and width {width!r} must be positive integers",
        )
    if rows * columns > MAX_PIXELS:
        raise DocumentFailure(
            ErrorCode.UNSAFE_SIZE, f"{name}: declares {rows} x {columns} pixels; that is refused"
        )
    return rows, columns


def _whole(value: object) -> int:
    """The integer that a document means, ``480.0`` too; 0 where it means none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    return int(value) if isinstance(value, int) or value.is_integer() else 0
