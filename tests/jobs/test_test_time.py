"""`maskmill prelabel` with scales, mirror images, windows and thresholds, as people use it."""

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import save_file

from maskmill.jobs.cli import main
from maskmill.pipeline.labelling.upsample import sample_bilinear
from maskmill.pipeline.models.registry import DEFAULT_MODEL, MODELS
from maskmill.pipeline.models.segmenter import Segmenter, build_network
from maskmill.pipeline.prelabel.plan import default_block_images
from maskmill.pipeline.prelabel.proof import verify_run
from maskmill.pipeline.views.plan import ViewSettings
from maskmill.pipeline.views.preparation import prepare
from tests.jobs.in_process import run_in_process

ROOT = Path(__file__).resolve().parents[2]
ADE = "deeplabv3plus_mobilenetv2_ade20k"
VOC = ("2011_000003", "2011_000006", "2011_000025")
DEFAULTS = {
    "model": DEFAULT_MODEL, "untrained": False, "image_size": None, "block_images": 32,
    "precision": "auto",
}  # fmt: skip


@pytest.fixture(scope="module")
def voc_list(shared, tmp_path_factory):
    path = tmp_path_factory.mktemp("lists") / "voc.txt"
    path.write_text("".join(f"{shared / 'data/voc' / name}.jpg\n" for name in VOC))
    return path


@pytest.fixture(scope="module")
def plain(tmp_path_factory, default_weights, voc_list):
    """A finished run of the default model with the command's own defaults."""
    out = tmp_path_factory.mktemp("plain") / "out"
    run_in_process(voc_list, out, **DEFAULTS)
    return out


def scores(out: Path, shared: Path) -> tuple[float, float]:
    """Mean IoU over the classes of truth or labels, and pixel accuracy, of all together."""
    counts = np.zeros((21, 21), np.int64)
    for row in rows_of(out):
        name = Path(row["key"]).stem
        truth = np.asarray(Image.open(shared / f"data/voc/{name}_voc_official.png"))
        mask = np.asarray(Image.open(out / row["mask_path"]))
        valid = truth != 255
        pairs = truth[valid].astype(np.int64) * 21 + mask[valid]
        counts += np.bincount(pairs, minlength=441).reshape(21, 21)
    union = counts.sum(0) + counts.sum(1) - counts.diagonal()
    iou = (counts.diagonal()[union > 0] / union[union > 0]).mean()
    return float(iou), float(counts.trace() / counts.sum())


def rows_of(out: Path) -> list[dict]:
    return pq.read_table(out / "metadata").sort_by("image_id").to_pylist()


def test_scales_and_flip_keep_the_labels_of_real_pictures_sane(
    plain, voc_list, shared, tmp_path, maskmill
):
    """The small default model gains nothing here, but what is averaged lies where it belongs."""
    out = tmp_path / "out"
    result = maskmill("prelabel", voc_list, out, "--scales", "0.75,1,1.25", "--flip", "--json")
    assert result.returncode == 0, result.stderr
    (iou, accuracy), (plain_iou, plain_accuracy) = scores(out, shared), scores(plain, shared)
    print(f"mean IoU {plain_iou:.4f} plain, {iou:.4f} with scales and mirror images")
    print(f"pixel accuracy {plain_accuracy:.4f} plain, {accuracy:.4f}")
    assert plain_iou > 0.5
    assert iou > plain_iou - 0.06
    assert accuracy > plain_accuracy - 0.025
    assert [row["notes"] for row in rows_of(out)] == [row["notes"] for row in rows_of(plain)]
    assert maskmill("verify", out).returncode == 0


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--scales", "0.5,1"), "scales"),
        (("--flip",), "flip"),
        (("--window", "200"), "window"),
        (("--window", "0"), "window"),
        (("--overlap", "0.5"), "overlap"),
        (("--output-stride", "16"), "output_stride"),
    ],
)
def test_other_options_are_another_run(plain, voc_list, options, named):
    result = CliRunner().invoke(main, ["prelabel", str(voc_list), str(plain), *options])
    assert result.exit_code == 2
    assert "holds a different run" in result.output
    assert f"  {named}: " in result.output


def test_defaults_written_out_are_the_same_run(plain, voc_list):
    """Order and repetition of scales, and the model's own output stride, change nothing."""
    options = ["--scales", "1.0,1", "--overlap", "0.25", "--output-stride", "8"]
    result = CliRunner().invoke(main, ["prelabel", str(voc_list), str(plain), *options])
    assert result.exit_code == 0, result.output
    assert "nothing to do" in result.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--scales", "1,big"), "not a list of numbers"),
        (("--scales", "0.1,1"), "between 0.25 and 4"),
        (("--scales", "0.25", "--image-size", "65"), "17 pixels"),
        (("--window", "20"), "64 or more"),
        (("--overlap", "1"), "overlap"),
        (("--threshold", "0.4"), "two with --labels"),
        (("--threshold", "1"), "threshold"),
        (("--output-stride", "32"), "output-stride"),
        (("--model", "deeplabv3_resnet50", "--untrained", "--output-stride", "16"), "no other"),
        (("--model", ADE, "--untrained", "--precision", "bf16"), "use --precision fp32"),
        (("--weights", "mine.pth", "--untrained"), "leave one out"),
    ],
)
@pytest.mark.usefixtures("default_weights")
def test_impossible_wishes_are_refused_before_anything_is_written(
    tmp_path, voc_list, options, message
):
    arguments = ["prelabel", str(voc_list), str(tmp_path / "out"), "--dry-run", *options]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2, result.output
    assert message in " ".join(result.output.split())
    assert not (tmp_path / "out").exists()


def test_blocks_hold_fewer_images_the_more_often_each_is_seen():
    assert default_block_images(ViewSettings()) == 32
    assert default_block_images(ViewSettings(flip=True)) == 16
    scales = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
    assert default_block_images(ViewSettings(scales=scales, flip=True)) == 1
    assert default_block_images(ViewSettings(scales=(0.5,))) == 32


def test_a_sigmoid_checkpoint_labels_background_and_one_class(shared, tmp_path):
    spec = MODELS[DEFAULT_MODEL]
    torch.manual_seed(0)
    network = build_network(spec, 1)
    weights, labels = tmp_path / "cat.safetensors", tmp_path / "labels.json"
    picture = shared / "data/voc/2011_000006.jpg"
    pixels = np.asarray(Image.open(picture))
    prepared = prepare(pixels, spec.preprocessing, image_size=129)
    # Logits with a spread around 0, so that random weights say something everywhere.
    save_file(network.state_dict(), weights)
    grid = Segmenter(spec, weights, precision="fp32").forward([prepared])[0].logits
    with torch.no_grad():
        classifier = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d)][-1]
        gain = 2.0 / float(grid.std())
        classifier.weight.mul_(gain)
        classifier.bias.sub_(float(grid.mean())).mul_(gain)
    save_file(network.state_dict(), weights)
    classes = [{"name": "background", "is_background": True}, {"name": "cat"}]
    labels.write_text(json.dumps({"name": "cats", "classes": classes}))
    out, given = tmp_path / "out", {"weights": str(weights), "labels": str(labels)}
    layout = run_in_process(
        picture, out, **{**DEFAULTS, **given, "image_size": 129, "threshold": 0.3}
    )
    assert [problem for step in verify_run(layout) for problem in step.problems] == []
    mask = np.asarray(Image.open(out / "masks/2011_000006.png"))
    answer = Segmenter(spec, weights, precision="fp32").forward([prepared])[0]
    logit = sample_bilinear(answer.logits[0], answer.rows, answer.cols, mask.shape)
    probability = 1 / (1 + np.exp(-logit.astype(np.float64)))
    clear = np.abs(probability - 0.3) > 1e-4
    assert 0.05 < (mask == 1).mean() < 0.95
    assert np.array_equal(mask[clear] == 1, probability[clear] > 0.3)
    again = ["prelabel", picture, out, "--weights", weights, "--labels", labels]
    again += ["--image-size", 129, "--threshold", 0.6]
    refused = CliRunner().invoke(main, list(map(str, again)))
    assert refused.exit_code == 2
    assert "  threshold: 0.3 there, 0.6 asked for" in refused.output


@pytest.mark.slow
@pytest.mark.usefixtures("default_weights")
def test_a_hundred_megapixels_within_four_gibibytes(tmp_path, monkeypatch):
    """Summed proportional set sizes of the command and all below it, object store and all."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from large_picture import LIMIT_GIB, SIZE_HW, peaks_of, write_sheet

    sheet, out = write_sheet(tmp_path / "large.jpg"), tmp_path / "out"
    total, private = peaks_of([sys.executable, "-m", "maskmill", "prelabel", str(sheet), str(out)])
    print(f"peak {total / 2**30:.2f} GiB, {private / 2**30:.2f} without the object store")
    row = rows_of(out)[0]
    assert row["notes"] == ["seen in 48 windows of 2048x2048 pixels"]
    assert (row["height"], row["width"]) == SIZE_HW
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # Pillow warns of pictures this large
    assert Image.open(out / row["mask_path"]).size == SIZE_HW[::-1]
    assert total < LIMIT_GIB << 30
