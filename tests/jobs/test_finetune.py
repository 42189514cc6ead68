"""`finetune` as people use it: data in, a model out that every other command takes."""

import json
import random
import signal
import subprocess
import time
from dataclasses import fields
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image

from maskmill.jobs.cli import main
from maskmill.pipeline.training.recipe import Recipe
from tests.made_set import LABELS, write_made_set

MODEL = "deeplabv3_mobilenetv2_x05_voc"
SMALL = (
    "--model", MODEL, "--untrained", "--image-size", "65", "--crop-size", "65", "--batch-size", "2",
    "--precision", "fp32", "--threads", "1", "--validation-share", "0.3",
)  # fmt: skip
"""A network without weights on small pictures: quick, and needs no network to fetch from."""

LEFT_OPEN = {"epochs", "learning_rate", "warm_up", "batch_norm"}
"""Settings that the command decides by itself unless they are given."""


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_made_set(tmp_path_factory.mktemp("data") / "made", 10)


def invoke(*arguments: object) -> object:
    return CliRunner().invoke(main, [str(one) for one in arguments])


def finetune(data: Path, out: Path, *options: object):
    return invoke("finetune", data, out, *SMALL, *options)


def steps_of(out: Path) -> list[dict]:
    """Every row of a step, in the order of the files' names."""
    files = sorted((out / "rows" / "steps").glob("*.parquet"))
    return [row for path in files for row in pq.read_table(path).to_pylist()]


def losses_of(out: Path) -> list[tuple[int, float]]:
    return [(row["step"], row["loss"]) for row in steps_of(out)]


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "out"
    result = finetune(data, out, "--epochs", 2)
    assert result.exit_code == 0, result.output
    return out


def test_the_run_tells_all_of_itself(trained) -> None:
    record = json.loads((trained / "run.json").read_text())
    assert record["command"] == "finetune" and record["state"] == "finished"
    rows = pq.read_table(trained / "metadata").to_pylist()
    assert {row["role"] for row in rows} == {"train", "validate"}
    assert {row["status"] for row in rows} == {"ok"} and len(rows) == 10
    learnt = sum(row["role"] == "train" for row in rows)
    per_epoch = -(-learnt // 2)
    assert [row["step"] for row in steps_of(trained)] == list(range(1, 2 * per_epoch + 1))
    epochs = {row["epoch"] for row in pq.read_table(trained / "rows" / "validation").to_pylist()}
    assert epochs == {0, 1, 2}


def test_the_card_names_data_and_settings_as_they_were_in_the_end(trained) -> None:
    identity = json.loads((trained / "run.json").read_text())["identity"]
    told = json.loads((trained / "model" / "model.json").read_text())["training"]
    page = (trained / "model" / "README.md").read_text()
    assert told["data_manifest"] == identity["inputs"] and identity["inputs"] in page
    asked = {one.name for one in fields(Recipe)} & set(identity)
    assert asked and all(told[name] == identity[name] for name in asked - LEFT_OPEN)
    assert [told[name] for name in ("epochs", "warm_up", "batch_norm")] == [2, 0, "train"]
    rate = max(row["rate"] for row in steps_of(trained))
    assert told["learning_rate"] == rate and f"| learning_rate | {rate} |" in page
    assert "| scales | 0.5, 2.0 |" in page


def test_scores_of_the_card_are_those_of_the_masks_that_prelabel_makes(
    trained, data, tmp_path
) -> None:
    """The house's `prelabel` and plain numpy, on the pictures that were measured on."""
    card = json.loads((trained / "model" / "model.json").read_text())
    rows = pq.read_table(trained / "metadata").to_pylist()
    names = [row["key"] for row in rows if row["role"] == "validate"]
    listed = tmp_path / "list.txt"
    listed.write_text("".join(f"{data / 'images' / name}\n" for name in names))
    labels = tmp_path / "labels"
    result = invoke("prelabel", listed, labels, "--model", trained / "model", "--precision", "fp32")
    assert result.exit_code == 0, result.output
    counts = np.zeros((3, 3), dtype=int)
    for name in names:
        truth = np.array(Image.open(data / "masks" / name))
        found = np.array(Image.open(next((labels / "masks").rglob(name))))
        np.add.at(counts, (truth, found), 1)
    union = counts.sum(0) + counts.sum(1) - np.diag(counts)
    iou = np.diag(counts) / union
    told = [card["scores"]["iou"][label]["value"] for label in LABELS.names]
    assert told == pytest.approx(iou.tolist(), abs=2e-3)  # fused convolutions round differently


def test_it_can_be_looked_at_before_and_after(trained, data, tmp_path) -> None:
    """Masks that the view makes give the confusion matrices that training wrote down."""
    from maskmill.pipeline.review import gallery
    from maskmill.pipeline.review.opening import open_subject
    from maskmill.pipeline.review.query import Query
    from maskmill.pipeline.review.slim_index import SlimIndex
    from maskmill.schemas.errors import FileFailure

    subject = open_subject(str(trained))
    index = SlimIndex(subject, None)
    index.refresh()
    best = json.loads((trained / "model" / "model.json").read_text())["scores"]["epoch"]
    told = pq.read_table(trained / "rows" / "validation").to_pylist()
    wanted = {(row["epoch"], row["key"]): row for row in told}
    measured = sorted({row["key"] for row in told})
    first = gallery.page(index, Query(), 0, len(measured))
    assert sorted(row["key"] for row in first) == measured  # the worst of these, then the others
    assert [row["miou"] for row in first] == sorted(row["miou"] for row in first)
    assert gallery.total(index, Query()) == 10
    for row in first:
        item = gallery.item(index, row["n"])
        truth = np.array(Image.open(data / "masks" / row["key"]))
        np.testing.assert_array_equal(subject.truth(item), truth)
        for epoch, mask in ((0, subject.before(item)), (best, subject.mask(item))):
            cells = np.zeros((3, 3), int)
            np.add.at(cells, (truth, mask), 1)
            confusion = wanted[epoch, row["key"]]["confusion"]
            expected = {(one["truth"], one["prediction"]): one["pixels"] for one in confusion}
            assert {tuple(at): cells[tuple(at)] for at in np.argwhere(cells)} == expected
        assert subject.row(item)["miou_before"] == wanted[0, row["key"]]["miou"]
    for path in trained.rglob("*"):  # as while it trains: there is no model yet
        if path.is_file() and "model" not in path.relative_to(trained).parts:
            (tmp_path / path.relative_to(trained)).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path.relative_to(trained)).write_bytes(path.read_bytes())
    early = open_subject(str(tmp_path))
    np.testing.assert_array_equal(early.truth(item), truth)
    with pytest.raises(FileFailure, match="no model yet"):
        early.mask(item)


def test_the_result_is_a_model_like_any_other(trained, tmp_path) -> None:
    folder = trained / "model"
    info = json.loads(invoke("models", "info", folder, "--json").output)
    assert info["classes"] == list(LABELS.names) and info["weights"] == "here"
    assert invoke("verify", trained).exit_code == 0
    again = finetune_from(folder, trained, tmp_path)
    card = json.loads((again / "model" / "model.json").read_text())
    parent = json.loads((folder / "model.json").read_text())
    assert card["parent"]["weights_sha256"] == parent["sha256"]
    assert card["before"]["miou"] == parent["scores"]["miou"]  # it begins where the other ended


def finetune_from(folder: Path, trained: Path, tmp_path: Path) -> Path:
    data = json.loads((trained / "run.json").read_text())["settings"]["source"]
    small = [one for one in SMALL if one not in ("--model", MODEL, "--untrained")]
    result = invoke("finetune", data, tmp_path / "more", "--model", folder, *small, "--epochs", 1)
    assert result.exit_code == 0, result.output
    return tmp_path / "more"


def test_weights_that_are_not_those_of_the_card_are_refused(trained, data, tmp_path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for path in (trained / "model").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    weights = folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    result = invoke("prelabel", data / "images", tmp_path / "out", "--model", folder)
    assert result.exit_code == 1 and "sha256" in result.output


def test_a_card_that_names_code_is_refused(trained, tmp_path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    card = json.loads((trained / "model" / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**card, "builder": "os:system"}))
    result = invoke("models", "info", folder)
    assert result.exit_code == 1 and "os:system" in result.output


def test_a_folder_that_holds_no_model_says_where_one_is(trained) -> None:
    result = invoke("models", "info", trained)
    assert result.exit_code == 2 and str(trained / "model") in result.output


def test_the_same_command_again_does_nothing_and_another_is_refused(data, trained) -> None:
    before = (trained / "run.json").read_bytes()
    assert finetune(data, trained, "--epochs", 2).exit_code == 0
    assert (trained / "run.json").read_bytes() == before
    result = finetune(data, trained, "--epochs", 3)
    assert result.exit_code == 2 and "epochs: 2 there, 3 asked for" in result.output


def test_bad_samples_are_rows_and_training_goes_on(tmp_path) -> None:
    data = write_made_set(tmp_path / "data", 8)
    (data / "images" / "001.png").write_bytes(b"not a picture")
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(data / "masks" / "002.png")
    Image.fromarray(np.full((48, 64), 7, np.uint8)).save(data / "masks" / "003.png")
    (data / "images" / "004.png").unlink()
    result = finetune(data, tmp_path / "out", "--epochs", 1, "--validation-share", "0.5")
    assert result.exit_code == 3, result.output
    rows = {row["key"]: row for row in pq.read_table(tmp_path / "out" / "metadata").to_pylist()}
    codes = {key: row["error_code"] for key, row in rows.items() if row["status"] == "failed"}
    assert codes == {
        "001.png": "not_an_image",
        "002.png": "size_mismatch",
        "003.png": "unknown_value",
        "004": "missing_image",
    }
    assert "--resize nearest" in rows["002.png"]["error_message"]
    assert len(steps_of(tmp_path / "out")) >= 1


def test_masks_of_another_size_are_scaled_when_asked_for(tmp_path) -> None:
    data = write_made_set(tmp_path / "data", 6)
    path = data / "masks" / "002.png"
    Image.fromarray(np.array(Image.open(path))[::2, ::2]).save(path)
    out = tmp_path / "out"
    options = ("--epochs", 1, "--resize", "nearest", "--validation-share", "0.5")
    assert finetune(data, out, *options).exit_code == 0
    rows = {row["key"]: row for row in pq.read_table(out / "metadata").to_pylist()}
    assert rows["002.png"]["resized_from"] == "32x24" and rows["001.png"]["resized_from"] is None


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--validation-share", "0.0001"), "nothing to measure on"),
        (("--train-on", "nowhere"), "no such split"),
        (("--monitor", "iou/horse"), "horse"),
        (("--monitor", "ece"), "take one of"),
        (("--loss", "dice_bce"), "background and one class"),
        (("--class-weights", "nowhere.json"), "none, inverse, median"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_written(
    data, tmp_path, options, sentence
) -> None:
    result = finetune(data, tmp_path / "out", *options)
    assert result.exit_code == 2 and sentence in result.output, result.output
    assert not list(tmp_path.rglob("*.pt"))


def test_classes_that_no_mask_has_are_named_before_the_first_step(tmp_path) -> None:
    data = write_made_set(tmp_path / "data", 6)
    for path in (data / "masks").iterdir():
        mask = np.array(Image.open(path))
        Image.fromarray(np.where(mask == 2, 0, mask).astype(np.uint8)).save(path)
    result = finetune(data, tmp_path / "out", "--epochs", 1, "--validation-share", "0.5")
    told = result.output.partition("epochs of")[0]
    assert "no training mask has square" in told and "no validation mask has square" in told


def test_a_loss_that_is_no_number_ends_with_a_sentence_and_keeps_the_best(data, tmp_path) -> None:
    out = tmp_path / "out"
    options = ("--epochs", 6, "--learning-rate", "1e30", "--warm-up", 10, "--optimizer", "sgd")
    result = finetune(data, out, *options, "--clip", 0)
    assert result.exit_code == 1 and "training stops here" in result.output, result.output
    assert "--learning-rate" in result.output


def start(data: Path, out: Path, *options: object) -> subprocess.Popen:
    from tests.jobs.conftest import ROOT, command_line

    return subprocess.Popen(
        command_line("finetune", data, out, *SMALL, *options),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_at_random_it_ends_with_the_same_weights_and_no_step_twice(data, tmp_path) -> None:
    calm, stormy, rng = tmp_path / "calm", tmp_path / "stormy", random.Random(4)
    options = ("--epochs", 8)
    assert start(data, calm, *options).wait() == 0
    kills = 0
    while kills < 5:
        before = len(list((stormy / "rows" / "steps").glob("*"))) if stormy.exists() else 0
        driver = start(data, stormy, *options)
        wanted = before + rng.randint(0, 1)
        while driver.poll() is None and (
            not (stormy / "rows" / "steps").exists()
            or len(list((stormy / "rows" / "steps").glob("*"))) < wanted
        ):
            time.sleep(0.02)
        time.sleep(rng.random() * 0.5)
        if driver.poll() is not None:
            break
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        kills += 1
    assert kills == 5, "it ended before it was killed often enough"
    assert start(data, stormy, *options).wait() == 0
    assert losses_of(stormy) == losses_of(calm)
    names = ("weights.safetensors", "model.json")
    weights = [(out / "model" / names[0]).read_bytes() for out in (calm, stormy)]
    assert weights[0] == weights[1]
    assert invoke("verify", stormy).exit_code == 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--engine", "local", "--workers", 2), "leave --engine out"),
        (("--workers", 1000, "--batch-size", 1000), "are too many"),
        (("--workers", 2, "--batch-size", 3), "does not divide among 2 workers"),
    ],
)
def test_workers_that_cannot_be_are_refused(data, tmp_path, options, sentence) -> None:
    result = finetune(data, tmp_path / "out", *options)
    assert result.exit_code == 2 and sentence in result.output, result.output
