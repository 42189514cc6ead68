"""Lines between classes that can be seen on every picture; contrast by WCAG's own formula."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from maskmill.pipeline.masks.outlines import DARK, LIGHT, outlines
from maskmill.pipeline.prelabel.writers.overlay import contact_sheet, overlay_image, overlay_preview
from maskmill.schemas.labels import builtin

VOC = builtin("voc")


def luminance(rgb):
    """WCAG 2.2, relative luminance of (…, 3) sRGB in 0..255."""
    part = np.asarray(rgb, np.float64) / 255
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    return linear @ np.array([0.2126, 0.7152, 0.0722])


def contrast(one, other):
    bright, dim = np.maximum(one, other), np.minimum(one, other)
    return (bright + 0.05) / (dim + 0.05)


def sides_and_lines(drawn, mask):
    """For every border between rows: luminance beyond it on both sides, and of its two lines."""
    light = luminance(drawn)
    lines = outlines(mask, VOC.background_index)
    found = []
    for values, drawn_lines, at in ((light, lines, mask), (light.T, lines.T, mask.T)):
        rows, columns = np.nonzero(at[1:-2] != at[2:-1])
        beyond = drawn_lines[rows, columns] == 0, drawn_lines[rows + 3, columns] == 0
        clear = beyond[0] & beyond[1]
        rows, columns = rows[clear], columns[clear]
        found.append(np.stack([values[rows + step, columns] for step in (0, 1, 2, 3)]))
    return np.concatenate(found, axis=1)


def least_contrast(drawn, mask):
    """The worst border: on its worse side, what the better of the two lines has against it."""
    above, first, second, below = sides_and_lines(drawn, mask)
    sides = [np.maximum(contrast(first, side), contrast(second, side)) for side in (above, below)]
    return float(np.minimum(*sides).min()), len(above)


@given(arrays.arrays(np.uint8, (9, 11), elements=st.sampled_from([0, 1, 7, 255])))
def test_every_border_has_both_lines_and_nothing_else_has_one(mask):
    lines = outlines(mask, background=0)
    rank = np.where(mask == 0, -1, mask.astype(int))
    for y, x in np.ndindex(mask.shape):
        near = [
            rank[row, column]
            for row, column in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1))
            if 0 <= row < 9 and 0 <= column < 11
        ]
        expected = LIGHT if min(near) < rank[y, x] else DARK if max(near) > rank[y, x] else 0
        assert lines[y, x] == expected


def test_the_background_is_outside_whatever_its_index():
    mask = np.array([[1, 1, 2, 2]], np.uint8)
    assert outlines(mask, background=2).tolist() == [[0, LIGHT, DARK, 0]]
    assert outlines(mask, background=None).tolist() == [[0, DARK, LIGHT, 0]]


@pytest.mark.parametrize("shade", [0, 60, 117, 118, 140, 200, 255])
@pytest.mark.parametrize("index", range(1, 21))
def test_contrast_on_plain_pictures_in_every_colour_of_voc(shade, index):
    mask = np.zeros((24, 24), np.uint8)
    mask[8:16, 8:16] = index
    drawn = overlay_image(np.full((24, 24, 3), shade, np.uint8), mask, VOC)
    least, borders = least_contrast(drawn, mask)
    assert borders > 20 and least >= 3


def photographs(shared):
    """20 photographs of people, each with its mask as a class of the VOC map, and one of 21."""
    folder = shared / "data" / "finetune"
    masks = sorted(path for path in folder.rglob("*.png") if "mask" in str(path.parent).lower())
    pictures = {path.stem: path for path in folder.rglob("*.jpg")}
    for number, path in enumerate(one for one in masks if one.stem in pictures):
        picture = Image.open(pictures[path.stem]).convert("RGB")
        picture.thumbnail((512, 512))
        inside = np.asarray(Image.open(path).convert("L").resize(picture.size)) > 127
        yield path.stem, np.asarray(picture), np.where(inside, 1 + number % 20, 0).astype(np.uint8)


def test_contrast_on_20_photographs_in_overlays_and_on_contact_sheets(shared):
    for number, (name, picture, mask) in enumerate(photographs(shared)):
        if number == 20:
            break
        assert least_contrast(overlay_image(picture, mask, VOC), mask)[0] >= 3, name
        small = overlay_preview(picture, mask, VOC, 160)
        scale = 160 / max(mask.shape)
        height, width = small.shape[:2]
        rows = ((np.arange(height) * 2 + 1) * mask.shape[0]) // (2 * height)
        columns = ((np.arange(width) * 2 + 1) * mask.shape[1]) // (2 * width)
        least, borders = least_contrast(small, mask[rows[:, None], columns])
        assert scale < 1 and borders > 20 and least >= 3, name
    assert number == 20


def test_a_contact_sheet_keeps_the_lines_of_pictures_of_its_size():
    import io

    mask = np.zeros((80, 80), np.uint8)
    mask[20:60, 20:60] = 15
    tile = overlay_preview(np.full((80, 80, 3), 128, np.uint8), mask, VOC, 80)
    sheet = np.asarray(Image.open(io.BytesIO(contact_sheet([("a", tile)], tile=80))))
    shown = luminance(sheet[12:92, 12:92])
    assert contrast(shown[40, 20], shown[40, 15]) >= 3 or contrast(shown[40, 19], shown[40, 15]) > 3
    assert contrast(shown[40, 20], shown[40, 19]) > 9
