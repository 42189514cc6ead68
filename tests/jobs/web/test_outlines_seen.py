"""Outlines on 20 photographs as `view` shows them: thumbnails after JPEG, and the page's canvas."""

import io
import shutil

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from maskmill.pipeline.masks.segments import class_statistics
from maskmill.pipeline.prelabel.writers.mask_file import mask_to_png
from maskmill.pipeline.review.renditions import nearest
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.record import RunRecord
from maskmill.schemas.labels import builtin
from maskmill.schemas.tables.prelabel import METADATA
from tests.browser_pages import SCREENS, pixels, until, watched
from tests.jobs.web.conftest import Served
from tests.pipeline.masks.test_outlines import least_contrast, photographs

VOC = builtin("voc")
BOX = """() => { const box = document.querySelector('#panes canvas').getBoundingClientRect();
return [box.height, box.width]; }"""
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shown(shared, tmp_path_factory):
    """(server, masks by id) of a run over 20 photographs of people, each with another class."""
    folder = tmp_path_factory.mktemp("photographs")
    layout, rows, masks = RunLayout(str(folder / "run")), [], {}
    for n, (name, picture, mask) in zip(range(1, 21), photographs(shared), strict=False):
        place = folder / f"{name}.png"
        Image.fromarray(picture).save(place)
        layout.write(f"masks/{name}.png", mask_to_png(mask, VOC))
        rows.append({
            "image_id": n, "key": place.name, "uri": str(place), "block": 0, "status": "ok",
            "width": mask.shape[1], "height": mask.shape[0], "mask_path": f"masks/{name}.png",
            "classes": class_statistics(mask, VOC, [0.5] * 21),
        })  # fmt: skip
        masks[n] = mask
    layout.write_table(layout.block_path(0), pa.Table.from_pylist(rows, schema=METADATA))
    record = RunRecord(command="prelabel", identity={}, state="finished", label_map=VOC.to_dict())
    record.save(layout)
    server = Served(folder / "run")
    yield server, masks
    server.stop()
    shutil.rmtree(folder)


def test_contrast_in_thumbnails(shown):
    server, masks = shown
    assert len(masks) == 20
    for n, mask in masks.items():
        _, _, data = server.raw(f"/thumb/{n}?side=320", headers=server.cookie)
        drawn = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        least, borders = least_contrast(drawn, nearest(mask, drawn.shape[:2]))
        assert borders > 20 and least >= 3, (n, least)


def test_both_lines_are_on_the_canvas(shown, browser):
    """White within and black without, each as the picture's pixel is drawn: 4.58 : 1 or more."""
    server, masks = shown
    with watched(browser, SCREENS["wide and light"]) as page:
        page.goto(server.address)
        page.wait_for_selector(".card")
        for n, mask in masks.items():
            key = server.ask(f"/api/image/{n}")["key"]
            page.goto(f"{server.root}/?image={key}")
            until(page, f"document.querySelector('#panes')?.dataset.ready === '{n} whole'")
            for _ in range(60):  # it is drawn coarsely, and sharp once the page has its size
                share = share_of_lines(pixels(page)[..., :3], page.evaluate(BOX), mask)
                if share > 0.99:
                    break
                page.wait_for_timeout(250)
            assert share > 0.99, (n, share)


def share_of_lines(drawn, box, mask):
    """Of the places where a class ends above background: those with both lines as they must be."""
    fit = min(box[1] / mask.shape[1], box[0] / mask.shape[0])
    assert fit >= 1
    sizes = [round(fit * side) for side in mask.shape]  # in whole pixels of the screen, as drawn
    starts = [np.floor(drawn.shape[axis] / 2 - fit * mask.shape[axis] / 2 + 0.5) for axis in (0, 1)]
    rows, columns = np.nonzero((mask[:-1] > 0) & (mask[1:] == 0))
    assert len(rows) > 20
    right = np.ones(len(rows), bool)
    for offset, shade in ((0, 255), (1, 0)):
        at = [
            np.floor(start + (place + 0.5) * size / side).astype(int)
            for start, place, size, side in zip(
                starts, (rows + offset, columns), sizes, mask.shape, strict=True
            )
        ]
        right &= (drawn[at[0], at[1]] == shade).all(-1)
    return right.mean()
