"""What every writer and finisher promises, whoever adds one."""

import io
import re

import numpy as np
import pytest

from maskmill.pipeline.prelabel.writers.registry import FINISHERS, WRITERS, ImageOutputs, outputs_of
from maskmill.pipeline.views.geometry import AxisMap, GridView
from maskmill.schemas.labels import builtin


@pytest.fixture
def outputs():
    generator = np.random.default_rng(0)
    axis = AxisMap(0.25, 0.0, 0.0, 8.0)
    return ImageOutputs(
        key="a/b c.jpg",
        output="a/b c",
        mask=generator.choice(np.array([0, 0, 5, 20, 255], np.uint8), (24, 36)),
        labels=builtin("voc"),
        image=generator.integers(0, 256, (24, 36, 3), np.uint8),
        views=(GridView(generator.normal(size=(21, 9, 9)).astype(np.float32), axis, axis),),
        text={"model": "m", "weights": "0" * 64},
    )


@pytest.mark.parametrize("name", WRITERS)
def test_writers_name_themselves_and_a_place_of_their_own(name):
    spec = WRITERS[name]
    assert spec.name == name
    assert spec.path("a/b c") == f"{spec.folder}/a/b c{spec.extension}"
    assert re.fullmatch(r"\.[a-z]+", spec.extension)
    assert spec.description
    assert [other.folder for other in WRITERS.values()].count(spec.folder) == 1


@pytest.mark.parametrize("name", WRITERS)
def test_writing_again_gives_the_same_bytes(name, outputs):
    (output,) = outputs_of([name], {})
    write = output.write
    first, mask, image = write(outputs), outputs.mask.copy(), outputs.image.copy()
    assert first and first == write(outputs)
    np.testing.assert_array_equal(outputs.mask, mask)
    np.testing.assert_array_equal(outputs.image, image)


@pytest.mark.parametrize("name", FINISHERS)
def test_finishers_write_something_for_no_rows(name):
    assert FINISHERS[name].name == name and FINISHERS[name].description
    stream = io.BytesIO()
    FINISHERS[name].load()(lambda columns: [], stream, builtin("voc"), {})
    assert stream.getvalue()
