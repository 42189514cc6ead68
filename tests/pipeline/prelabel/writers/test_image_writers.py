import io
import math

import numpy as np
import pytest
from PIL import Image

from maskmill.pipeline.prelabel.writers.mask_file import mask_to_png
from maskmill.pipeline.prelabel.writers.overlay import (
    LONGEST_SIDE,
    contact_sheet,
    overlay_image,
    overlay_jpeg,
    write_overlay,
)
from maskmill.pipeline.prelabel.writers.registry import ImageOutputs
from maskmill.pipeline.prelabel.writers.soft import read_soft, write_soft
from maskmill.pipeline.views.geometry import AxisMap, GridView
from maskmill.schemas.errors import DocumentFailure, MaskFailure, SettingsError
from maskmill.schemas.labels import LabelMap, builtin

VOC = builtin("voc")
RANDOM = np.random.default_rng(0)


def opened(data):
    return Image.open(io.BytesIO(data))


def test_masks_are_palette_pngs_of_class_indices():
    mask = RANDOM.choice(np.array([0, 1, 15, 20, 255], np.uint8), (37, 53))
    image = opened(mask_to_png(mask, VOC))
    assert (image.format, image.mode, image.size) == ("PNG", "P", (53, 37))
    np.testing.assert_array_equal(np.array(image), mask)
    colors = np.array(image.convert("RGB"))
    assert set(map(tuple, colors[mask == 15])) == {(192, 128, 128)}
    assert set(map(tuple, colors[mask == 255])) == {(224, 224, 192)}


def test_more_than_255_classes_are_16_bit_grey():
    labels = LabelMap.from_names("many", [str(index) for index in range(300)])
    mask = RANDOM.choice(np.array([0, 299, 65535], np.uint16), (11, 13))
    image = opened(mask_to_png(mask, labels))
    assert image.mode == "I;16"
    np.testing.assert_array_equal(np.array(image), mask)


def test_provenance_is_text_and_does_not_change_from_call_to_call():
    mask = np.zeros((5, 5), np.uint8)
    text = {"Weights": "ab" * 32, "Model": "größe ✓"}
    data = mask_to_png(mask, VOC, text=text)
    assert data == mask_to_png(mask, VOC, text=dict(reversed(text.items())))
    assert opened(data).text == text
    assert data != mask_to_png(mask, VOC)


def test_a_part_of_a_mask_is_written_like_a_whole_one():
    mask = RANDOM.integers(0, 21, (64, 64)).astype(np.uint8)[::2, 1:]
    np.testing.assert_array_equal(np.array(opened(mask_to_png(mask, VOC))), mask)


def test_overlays_colour_classes_and_leave_background_alone():
    image = np.full((40, 40, 3), 100, np.uint8)
    mask = np.zeros((40, 40), np.uint8)
    mask[10:30, 10:30] = 15
    blended = overlay_image(image, mask, VOC)
    assert blended[0, 0].tolist() == [100, 100, 100]
    expected = 100 + 140 / 255 * (np.array([192, 128, 128]) - 100)
    np.testing.assert_allclose(blended[20, 20], expected, atol=1)
    light, dark = (blended == 255).all(axis=-1), (blended == 0).all(axis=-1)
    assert light[20, 10] and not light[20, 11] and light.sum() == 76  # the rim of the class
    assert dark[20, 9] and dark[9, 20] and not dark[9, 9] and dark.sum() == 80
    np.testing.assert_array_equal(image, 100)


def test_ignored_pixels_are_striped():
    image = np.full((40, 40, 3), 10, np.uint8)
    blended = overlay_image(image, np.full((40, 40), 255, np.uint8), VOC)
    assert len(np.unique(blended)) == 2 and blended.min() > 10


def test_every_class_is_blended_where_there_is_no_background():
    labels = LabelMap.from_names("road", ["road", "sky"], background=None)
    blended = overlay_image(np.full((4, 4, 3), 100, np.uint8), np.zeros((4, 4), np.uint8), labels)
    assert (blended == 45).all()


def test_the_legend_is_below_the_picture_and_large_pictures_are_reduced():
    image = np.full((200, 300, 3), 90, np.uint8)
    mask = np.zeros((200, 300), np.uint8)
    mask[:50] = 15
    page = opened(overlay_jpeg(image, mask, VOC))
    assert page.format == "JPEG" and page.width == 300 and 210 < page.height < 260
    strip = np.array(page)[200:].astype(int)
    assert (np.abs(strip - [192, 128, 128]).sum(-1) < 30).sum() > 50  # the swatch
    assert (strip.sum(-1) < 200).sum() > 30  # the name
    tall = opened(
        overlay_jpeg(np.zeros((3000, 1000, 3), np.uint8), np.zeros((3000, 1000), np.uint8), VOC)
    )
    assert tall.width == round(1000 * LONGEST_SIDE / 3000) and tall.height > LONGEST_SIDE


def test_many_classes_break_into_lines_of_the_legend():
    labels = LabelMap.from_names(
        "many", [f"a rather long class name {index}" for index in range(30)]
    )
    mask = (np.arange(100 * 120) % 30).reshape(100, 120).astype(np.uint8)
    page = opened(overlay_jpeg(np.zeros((100, 120, 3), np.uint8), mask, labels))
    assert page.width == 120 and page.height > 100 + 29 * 11


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1)])
def test_extreme_shapes(size):
    image = np.zeros((*size, 3), np.uint8)
    assert opened(overlay_jpeg(image, np.ones(size, np.uint8), VOC)).width == size[1]


def test_overlays_need_the_image_of_the_mask():
    mask = np.zeros((4, 4), np.uint8)
    with pytest.raises(MaskFailure):
        overlay_jpeg(np.zeros((4, 5, 3), np.uint8), mask, VOC)
    with pytest.raises(SettingsError, match=r"a\.jpg"):
        write_overlay(ImageOutputs(key="a.jpg", output="a", mask=mask, labels=VOC))


def test_contact_sheets():
    pictures = [(f"name {at}.jpg", np.full((60 + at, 100, 3), 40, np.uint8)) for at in range(5)]
    sheet = opened(contact_sheet(pictures, tile=100))
    assert sheet.size[0] == 3 * 112 + 12
    pixels = np.array(sheet)
    assert (np.abs(pixels[20, 20].astype(int) - 40) < 4).all()
    one = opened(contact_sheet([("x" * 400, np.zeros((10, 10, 3), np.uint8))], columns=4, tile=64))
    assert one.size[0] == 64 + 24
    with pytest.raises(SettingsError):
        contact_sheet([])


def view_of(shape=(21, 9, 13)):
    grid = (4 * RANDOM.normal(size=shape)).astype(np.float32)
    return GridView(grid, AxisMap(0.1, -0.45, 0.0, 8.0), AxisMap(0.2, 0.0, 0.0, 12.0))


def outputs_of(*views):
    mask = np.zeros((80, 60), np.uint8)
    return ImageOutputs(key="a.jpg", output="a", mask=mask, labels=VOC, views=views)


def test_probabilities_come_back_within_half_a_step():
    view = view_of()
    size, (soft,) = read_soft(write_soft(outputs_of(view)))
    assert size == (80, 60)
    assert (soft.rows, soft.cols) == (view.rows, view.cols)
    logits = view.grid.astype(np.float64)
    exact = np.exp(logits) / np.exp(logits).sum(axis=0)
    full = np.zeros_like(exact)
    full[soft.classes] = soft.probabilities
    assert np.abs(full - exact).max() <= 1 / 510 + 1e-6
    assert soft.probabilities.dtype == np.float32


def test_classes_that_never_show_are_left_out_and_extreme_logits_stay_finite():
    grid = np.full((300, 4, 4), -1e4, np.float32)
    grid[2], grid[299, 0] = 1e4, 1e4
    view = GridView(grid, AxisMap(1, 0, 0, 3), AxisMap(1, 0, 0, 3))
    data = write_soft(outputs_of(view))
    _, (soft,) = read_soft(data)
    assert soft.classes.tolist() == [2, 299]
    assert math.isclose(soft.probabilities[0, 0, 0], 0.5, abs_tol=1 / 255)
    assert len(data) < 2500


def test_several_views_keep_their_order_and_no_pickle_is_read():
    views = [view_of((3, 4, 5)), view_of((3, 7, 2))]
    _, softs = read_soft(write_soft(outputs_of(*views)))
    assert [soft.probabilities.shape[1:] for soft in softs] == [(4, 5), (7, 2)]
    with pytest.raises(SettingsError):
        write_soft(outputs_of())
    pickled = io.BytesIO()
    np.savez(pickled, size=np.array([{}, {}], object))
    for data in (b"", b"PK\x03\x04 no", pickled.getvalue()):
        with pytest.raises(DocumentFailure, match=r"x\.npz"):
            read_soft(data, name="x.npz")
