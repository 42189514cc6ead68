"""Names of pictures: one list of endings, one rule which of several wins, one way to a stem."""

import re
from pathlib import Path

import pillow_heif
import pytest
from PIL import Image

from maskmill.pipeline.pictures.decoding import FORMATS
from maskmill.pipeline.pictures.names import (
    EXACT_MASK_EXTENSIONS,
    IMAGE_EXTENSIONS,
    LOSSY_EXTENSIONS,
    MASK_EXTENSIONS,
    extension_of,
    pictures_by_stem,
    stem_of,
)

ROOT = Path(__file__).resolve().parents[3]


def test_the_lists_agree_with_each_other_and_with_what_is_decoded():
    Image.init()
    pillow_heif.register_heif_opener(thumbnails=False)
    formats = {*FORMATS, "MPO"}
    known = {ending for ending, kind in Image.registered_extensions().items() if kind in formats}
    assert set(IMAGE_EXTENSIONS) <= known
    assert len(set(IMAGE_EXTENSIONS)) == len(IMAGE_EXTENSIONS)
    assert set(MASK_EXTENSIONS) <= set(IMAGE_EXTENSIONS)
    assert set(LOSSY_EXTENSIONS) <= set(IMAGE_EXTENSIONS)
    assert set(EXACT_MASK_EXTENSIONS) == set(MASK_EXTENSIONS) - {".jpg", ".jpeg"}


@pytest.mark.parametrize(
    ("name", "stem", "extension"),
    [
        ("sub/a.b.JPG", "sub/a.b", ".jpg"),
        ("a.b", "a.b", ".b"),
        ("v1.2/a", "v1.2/a", ""),
        (".jpg", ".jpg", ""),
        ("sub/.png", "sub/.png", ""),
        ("a.mpo", "a", ".mpo"),
        ("a.png.jpg", "a.png", ".jpg"),
    ],
)
def test_stems_and_extensions(name: str, stem: str, extension: str):
    assert (stem_of(name), extension_of(name)) == (stem, extension)


def test_of_several_pictures_of_one_name_the_earlier_extension_wins():
    names = ["b/a.png", "b/a.JPG", "b/a.tif", "c.tif", "d.txt", "b/a.b.png"]
    expected = {"b/a": "b/a.JPG", "c": "c.tif", "b/a.b": "b/a.b.png"}
    assert pictures_by_stem(names) == pictures_by_stem(reversed(names)) == expected


def test_the_lists_and_the_exif_rule_stand_in_one_place():
    """Another tuple of picture endings, or Exif's tag, elsewhere is a second rule."""
    endings = re.compile(r'(?:"\.(?:jpe?g|png|tiff?|bmp)",\s*){2}')
    offenders = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for folder in ("schemas", "pipeline", "jobs", "maskmill")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if path.parent.name != "pictures" and path.name != "decoders.py"
        for match in re.finditer(
            rf"{endings.pattern}|0x0112|exif_transpose|getexif\(", path.read_text(encoding="utf-8")
        )
    ]
    assert offenders == []
