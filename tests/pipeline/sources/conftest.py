"""A folder of small pictures, and how to list it."""

from pathlib import Path

import pytest

from tests.sick_images import draw_picture, encode


@pytest.fixture(scope="session")
def jpeg() -> bytes:
    """One small sound JPEG."""
    import numpy as np

    return encode(draw_picture(np.random.default_rng(0), (24, 16)), "JPEG")


@pytest.fixture
def photos(tmp_path: Path, jpeg: bytes) -> Path:
    """Pictures with every kind of name, beside files that are none."""
    folder = tmp_path / "my photos"
    for name in (
        "a.jpg",
        "B.JPG",
        "sub/c.png",
        "sub/deep/d.jpeg",
        "100% #1?.jpg",
        "Füße/ñandú.webp",
        "with [brackets].tif",
        "a%20b.jpg",
        "notes.txt",
        "sub/paper.pdf",
        "README",
        "data.csv",
        "sub/more.txt",
        ".hidden.jpg",
        ".cache/e.jpg",
        "__MACOSX/f.jpg",
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg)
    return folder
