"""Large JPEGs in whole runs: read reduced, labelled at their own size."""

import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from maskmill.jobs.engines.choice import RunOptions
from maskmill.jobs.run import run
from maskmill.pipeline.prelabel.job import PrelabelJob
from maskmill.pipeline.prelabel.settings import PrelabelSettings
from maskmill.pipeline.prelabel.writers.overlay import overlay_jpeg
from maskmill.schemas.errors import RunRefused
from maskmill.schemas.labels import builtin
from tests.jobs.in_process import run_in_process
from tests.pipeline.pictures.test_reduction import smooth_picture, to_jpeg

SIZE = (2603, 1951)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    (folder / "lying.jpg").write_bytes(to_jpeg(smooth_picture(SIZE)))
    (folder / "standing.jpg").write_bytes(to_jpeg(smooth_picture(SIZE, 1), 6, progressive=True))
    return folder


def test_rows_and_masks_have_the_size_of_the_whole_picture(photographs, tmp_path) -> None:
    out = tmp_path / "out"
    run_in_process(photographs, out, writers=("masks", "overlays"))
    rows = {row["key"]: row for row in pq.read_table(out / "metadata").to_pylist()}
    for key, size in (("lying.jpg", SIZE), ("standing.jpg", SIZE[::-1])):
        assert (rows[key]["width"], rows[key]["height"]) == size
        assert rows[key]["notes"] == ["decoded at 1/8"]
        with Image.open(out / rows[key]["mask_path"]) as mask:
            assert mask.size == size


def test_all_pixels_can_be_asked_for_and_are_another_run(photographs, tmp_path) -> None:
    out = tmp_path / "out"
    run_in_process(photographs, out, exact_decode=True)
    assert [row["notes"] for row in pq.read_table(out / "metadata").to_pylist()] == [[], []]
    with pytest.raises(RunRefused, match="exact_decode"):
        run_in_process(photographs, out)


def test_an_overlay_of_a_reduced_picture_looks_like_one_of_the_whole() -> None:
    picture = np.array(smooth_picture(SIZE))
    mask = (np.indices(picture.shape[:2]).sum(axis=0) // 700 % 3).astype(np.uint8)
    half = np.array(Image.fromarray(picture).reduce(2))
    whole, reduced = (
        np.asarray(Image.open(io.BytesIO(overlay_jpeg(image, mask, builtin("voc"))))).astype(int)
        for image in (picture, half)
    )
    assert whole.shape == reduced.shape
    assert np.abs(whole - reduced).mean() < 1.5


@pytest.mark.thorough
def test_labels_of_real_photographs_hardly_change(tmp_path, default_weights) -> None:
    """Packaged photographs at 12 megapixels, one of them progressive, one on its side by EXIF."""
    data = pytest.importorskip("skimage.data")
    source = tmp_path / "photographs"
    source.mkdir()
    for name in ("astronaut", "chelsea", "coffee", "rocket"):
        picture = Image.fromarray(getattr(data, name)())
        orientation = 6 if name == "coffee" else 1
        if orientation == 6:
            picture = picture.transpose(Image.Transpose.ROTATE_90)
        scale = 4001 / max(picture.size)
        size = (round(picture.width * scale), round(picture.height * scale))
        large = picture.resize(size, Image.Resampling.BICUBIC)
        encoded = to_jpeg(large, orientation, progressive=name == "rocket")
        (source / f"{name}.jpg").write_bytes(encoded)
    for name, exact in (("reduced", False), ("exact", True)):
        values = {"source": str(source), "out": str(tmp_path / name), "exact_decode": exact}
        run(PrelabelJob(PrelabelSettings(**values)), RunOptions(engine="local"))
    shares = []
    for path in sorted((tmp_path / "exact/masks").iterdir()):
        other = np.asarray(Image.open(tmp_path / "reduced/masks" / path.name))
        shares.append(float((np.asarray(Image.open(path)) == other).mean()))
    assert len(shares) == 4
    assert np.mean(shares) >= 0.997, shares
