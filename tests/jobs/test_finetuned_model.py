"""What `finetune` makes is a model like any other: every command takes it, and others load it."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from click.testing import CliRunner

from maskmill.jobs.cli import main
from tests.made_set import LABELS, write_made_set

SIDE = 65
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def invoke(*arguments: object) -> str:
    result = CliRunner().invoke(main, [str(one) for one in arguments])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_made_set(tmp_path_factory.mktemp("data") / "made", 6)


@pytest.fixture(scope="module")
def model(data, tmp_path_factory) -> Path:
    """OUT/model of a short training of TensorFlow's network, its bias no zeros any more."""
    out = tmp_path_factory.mktemp("trained") / "out"
    small = ("--image-size", SIDE, "--crop-size", SIDE, "--batch-size", 2, "--precision", "fp32")
    begin = ("--model", "deeplabv3_mobilenetv2_x05_voc", "--untrained", "--threads", 1)
    invoke("finetune", data, out, *begin, *small, "--epochs", 2, "--validation-share", 0.4)
    invoke("verify", out)
    return out / "model"


@pytest.fixture(scope="module")
def network(model) -> torch.nn.Module:
    from maskmill.pipeline.models.choice import choose_model
    from maskmill.pipeline.models.loading import load_model

    choice = choose_model(str(model))
    return load_model(choice.spec, choice.weights_path).network


def pictures() -> torch.Tensor:
    """(2, 3, 65, 81): normalised, and of another shape than the network was traced with."""
    return torch.randn((2, 3, SIDE, SIDE + 16), generator=torch.Generator().manual_seed(1))


def logits_of(network: torch.nn.Module) -> np.ndarray:
    with torch.inference_mode():
        return network(pictures()).numpy()


def sha256_of(model: Path) -> str:
    return json.loads((model / "model.json").read_text())["sha256"]


@pytest.mark.parametrize("command", ["prelabel", "cutout"])
def test_rows_of_its_labels_carry_its_hash(model, data, tmp_path, command) -> None:
    extra = ("--classes", "disc,square", "--background", "remove") if command == "cutout" else ()
    out = tmp_path / "out"
    invoke(command, data / "images", out, "--model", model, "--precision", "fp32", *extra)
    rows = pq.read_table(out / "metadata").to_pylist()
    assert {row["weights_sha256"] for row in rows} == {sha256_of(model)}
    assert {row["status"] for row in rows} == {"ok"} and len(rows) == 6
    invoke("verify", out)


def test_info_tells_its_hash_and_classes(model) -> None:
    facts = json.loads(invoke("models", "info", model, "--json"))
    assert facts["classes"] == list(LABELS.names)
    assert sha256_of(model) in json.dumps(facts)


def test_onnx_of_it_answers_as_pytorch_does(model, network, tmp_path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    file = tmp_path / "model.onnx"
    invoke("models", "export", model, file)
    session = runtime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"images": pictures().numpy()})
    np.testing.assert_allclose(found, logits_of(network), atol=1e-4)


@pytest.fixture(scope="module")
def published(model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("published") / "shapes"
    invoke("models", "publish", model, folder)
    return folder


def test_what_is_published_loads_with_pytorch_alone(published, network) -> None:
    program = torch.export.load(published / "program.pt2").module()
    np.testing.assert_allclose(logits_of(program), logits_of(network), atol=1e-4)


def test_the_published_state_dict_is_that_of_the_network(published, network) -> None:
    from safetensors.torch import load_file

    state = load_file(published / "weights.safetensors")
    assert state.keys() == network.state_dict().keys()
    assert all(torch.equal(values, state[name]) for name, values in network.state_dict().items())


def test_the_published_folder_is_a_model_of_ours(published, data, tmp_path) -> None:
    invoke("prelabel", data / "images", tmp_path / "out", "--model", published, "--limit", 2)
    rows = pq.read_table(tmp_path / "out" / "metadata").to_pylist()
    assert {row["weights_sha256"] for row in rows} == {sha256_of(published)}


def test_transformers_loads_it_whole_and_answers_the_same(published, network) -> None:
    transformers = pytest.importorskip("transformers")
    theirs, loading = transformers.MobileNetV2ForSemanticSegmentation.from_pretrained(
        published, output_loading_info=True
    )
    assert not loading["missing_keys"] and not loading["unexpected_keys"]
    assert theirs.config.id2label == dict(enumerate(LABELS.names))
    with torch.inference_mode():
        found = theirs.eval()(pictures()).logits.numpy()
    np.testing.assert_allclose(found, logits_of(network), atol=1e-4)


def test_front_matter_is_yaml_and_tells_the_score(published, model) -> None:
    _, front, page = (published / "README.md").read_text().split("---\n", 2)
    document = yaml.safe_load(front)
    score = document["model-index"][0]["results"][0]["metrics"][0]["value"]
    card = json.loads((model / "model.json").read_text())
    assert score == pytest.approx(card["scores"]["miou"]["value"], abs=1e-4)
    assert document["pipeline_tag"] == "image-segmentation"
    assert document["license"] == "apache-2.0" or document["license_name"]
    assert "torch.export.load" in page and all(name in page for name in LABELS.names)


def test_a_folder_that_holds_something_is_left_alone(model, tmp_path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    result = CliRunner().invoke(main, ["models", "publish", str(model), str(tmp_path)])
    assert result.exit_code == 2 and "give a new folder" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
