"""`maskmill models import` on TensorFlow DeepLab's files, as users type it."""

import json

import pytest
from click.testing import CliRunner

from maskmill.jobs.cli import main
from tests.pipeline.models.tensorflow.writers import write_checkpoint, write_graph


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MASKMILL_CACHE", str(tmp_path / "cache"))


def maskmill(*arguments: object):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_a_graph_is_imported_and_listed(tmp_path):
    graph = write_graph("mobilenetv2_x075_os8", tmp_path)
    done = maskmill("models", "import", graph, "--name", "streets", "--labels", "cityscapes")
    assert done.exit_code == 0, done.output
    assert "streets: DeepLabv3, MobileNetV2 x0.75 (TensorFlow, imported)" in done.output
    assert "output stride 8, 19 classes" in done.output
    facts = json.loads(maskmill("models", "info", "streets", "--json").output)
    assert facts["input"] == "longest side scaled to 66, padded to 66x66"
    assert facts["classes"][0] == "road"


def test_labels_are_asked_for(tmp_path):
    graph = write_graph("mobilenetv2_x075_os8", tmp_path)
    done = maskmill("models", "import", graph, "--name", "streets")
    assert done.exit_code == 2
    assert "19 classes apart and does not name them: give --labels cityscapes" in done.output


def test_what_a_checkpoint_leaves_out_is_said_or_given(tmp_path):
    index = write_checkpoint("mobilenetv2", tmp_path)
    asked = ("models", "import", index, "--name", "things", "--labels", "voc")
    done = maskmill(*asked)
    assert done.exit_code == 0, done.output
    assert "note: a checkpoint does not tell how it was trained" in done.output
    done = maskmill(*asked, "--output-stride", 8, "--image-size", 321)
    assert done.exit_code == 0, done.output
    assert "note:" not in done.output
    assert "output stride 8" in done.output
    done = maskmill(*asked, "--atrous-rates", "6;12")
    assert done.exit_code == 2
    assert "--atrous-rates 6;12: give whole numbers" in done.output


def test_a_file_that_is_not_there(tmp_path):
    done = maskmill("models", "import", tmp_path / "no.pb", "--name", "x", "--labels", "voc")
    assert done.exit_code == 1
    assert "no model file" in done.output
