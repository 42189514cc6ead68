"""Every name of `maskmill models list` labels real pictures from end to end, trained or not."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from skimage import data

from maskmill.jobs.cli import main
from maskmill.pipeline.models.registry import MODELS
from maskmill.pipeline.models.spec import labels_of
from maskmill.pipeline.prelabel.proof import verify_run
from maskmill.schemas.labels import builtin
from tests.jobs.in_process import run_in_process
from tests.pipeline.models.pulled_weights import pulled_weights
from tests.thorough import sampled

ADE = "deeplabv3plus_mobilenetv2_ade20k"
FETCHED = [name for name, spec in MODELS.items() if spec.fetched]
REACHABLE = [name for name in FETCHED if MODELS[name].weights.kind != "torchvision"]
PHOTOGRAPHS = {"chelsea.jpg": data.chelsea, "astronaut.png": data.astronaut}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> Path:
    """Two packaged photographs, one wide and one square, at half their size."""
    folder = tmp_path_factory.mktemp("photographs")
    for name, picture in PHOTOGRAPHS.items():
        Image.fromarray(picture()[::2, ::2]).save(folder / name)
    return folder


def rows_of(out: Path) -> list[dict]:
    return pq.read_table(out / "metadata").sort_by("image_id").to_pylist()


def documents(out: Path) -> tuple[dict, dict]:
    """run.json's model and the COCO document's info."""
    record = json.loads((out / "run.json").read_text())
    return record["model"], json.loads((out / "annotations.json").read_text())["info"]


@pytest.mark.parametrize("name", sampled(MODELS, 5))
def test_labels_pictures_and_says_that_it_is_untrained(photographs, tmp_path, name):
    layout = run_in_process(photographs, tmp_path / "out", model=name, image_size=65)
    assert [problem for step in verify_run(layout, inputs=True) for problem in step.problems] == []
    rows = rows_of(tmp_path / "out")
    assert [row["status"] for row in rows] == ["ok", "ok"]
    for row in rows:
        with Image.open(tmp_path / "out" / row["mask_path"]) as mask:
            with Image.open(photographs / row["key"]) as picture:
                assert mask.size == picture.size
            assert mask.info["Model"] == f"{name} (untrained)"
            assert np.asarray(mask).max() < len(labels_of(MODELS[name]).classes)
    model, info = documents(tmp_path / "out")
    spec = MODELS[name]
    told = {
        "name": f"{name} (untrained)", "weights": "untrained", "weights_sha256": "",
        "architecture": spec.architecture, "output_stride": spec.output_stride,
    }  # fmt: skip
    assert {row["model"] for row in rows} == {told["name"]}
    assert model == told and {key: info[key] for key in told} == told


def test_a_dry_run_says_it_too(photographs, tmp_path):
    command = ["prelabel", str(photographs), str(tmp_path / "out"), "--untrained", "--dry-run"]
    result = CliRunner().invoke(main, [*command, "--model", "deeplabv3_resnet50"])
    assert result.exit_code == 0, result.output
    assert "to do with deeplabv3_resnet50 (untrained)" in result.output
    assert "note: deeplabv3_resnet50 is untrained" in result.output


@pytest.mark.parametrize("name", [name for name in MODELS if name not in REACHABLE])
def test_without_weights_nothing_is_labelled_and_the_remedy_is_named(
    photographs, tmp_path, monkeypatch, name
):
    def offline(*_, **__):
        raise OSError("no network here")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    monkeypatch.setenv("MASKMILL_CACHE", str(tmp_path / "cache"))
    command = ["prelabel", str(photographs), str(tmp_path / "out"), "--model", name]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1, result.output
    assert "--weights FILE" in result.output and "--untrained" in result.output
    assert not (tmp_path / "out" / "metadata").exists()


@pytest.mark.parametrize("name", REACHABLE)
def test_trained_models_see_the_cat(photographs, tmp_path, name):
    weights = str(pulled_weights(name))
    run_in_process(
        photographs, tmp_path / "out", model=name, untrained=False, weights=weights, image_size=257
    )
    mask = np.asarray(Image.open(tmp_path / "out/masks/chelsea.png"))
    assert (mask == builtin("voc").index_of("cat")).mean() > 0.5
    assert {row["model"] for row in rows_of(tmp_path / "out")} == {name}


def test_the_scene_model_takes_its_file_and_knows_it(shared, tmp_path):
    """Of the pixels that official annotations give to one of its classes."""
    file = shared / "weights" / "deeplabv3_mnv2_ade20k_int8.tflite"
    scenes = shared / "data/ade20k/sampleData"
    given = {"model": ADE, "untrained": False, "weights": str(file), "image_size": None}
    run_in_process(scenes / "images", tmp_path / "out", **given)
    right = known = 0
    for row in rows_of(tmp_path / "out"):
        mask = np.asarray(Image.open(tmp_path / "out" / row["mask_path"]))
        truth = np.asarray(Image.open(scenes / "annotations" / f"{Path(row['key']).stem}.png"))
        counted = (truth > 0) & (truth < 32)
        right, known = right + (mask == truth)[counted].sum(), known + counted.sum()
    assert right / known > 0.75
    model, info = documents(tmp_path / "out")
    assert model["name"] == info["name"] == ADE
    assert model["weights"] == info["weights"] == "published"
    assert model["weights_sha256"] == MODELS[ADE].weights.digest
