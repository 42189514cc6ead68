"""The size a document declares for a mask, checked before anything of that size is allocated."""

from maskmill.pipeline.masks.picture import MAX_PIXELS
from maskmill.schemas.errors import DocumentFailure, ErrorCode


def declared_size(height: object, width: object, *, name: str) -> tuple[int, int]:
    """(height, width) that a document declares, before anything of that size is allocated.

    Raises:
        DocumentFailure: MALFORMED where they are no positive integers, UNSAFE_SIZE beyond 2^28
            pixels.
    """
    if (
        not isinstance(height, int)
        or not isinstance(width, int)
        or isinstance(height, bool)
        or isinstance(width, bool)
        or height < 1
        or width < 1
    ):
        raise DocumentFailure(
            ErrorCode.MALFORMED,
            f"{name}: height {height!r} and width {width!r} must be positive integers",
        )
    if height * width > MAX_PIXELS:
        raise DocumentFailure(
            ErrorCode.UNSAFE_SIZE, f"{name}: declares {height} x {width} pixels; that is refused"
        )
    return height, width
