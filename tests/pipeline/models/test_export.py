"""Exported networks: run by onnxruntime and torch.export, any batch and size, equal to 1e-4."""

import json

import pytest
import torch
from torch import nn

from pipeline.models.export import export_metadata, export_model
from pipeline.models.loading import load_network
from pipeline.models.registry import DEFAULT_MODEL, MODELS
from pipeline.models.spec import load_attribute
from schemas.errors import ModelError, SettingsError
from tests.pipeline.models.foreign_networks import randomize

SHAPES = [(1, 3, 65, 97), (3, 3, 129, 50), (2, 3, 64, 64)]
ONNX_OWN = ("deeplabv3plus:build_mobilenetv2", "deeplabv3plus:build_xception65")
PROGRAM_OWN = ("deeplabv3plus:build_mobilenetv3_large", "cascaded:build_cascaded_resnet50")


def own_network(target):
    torch.manual_seed(10)
    return randomize(load_attribute(f"pipeline.models.{target}")(4))


def run_onnx(path):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session, lambda images: torch.from_numpy(
        session.run(["logits"], {"images": images.numpy()})[0]
    )


@torch.no_grad()
def assert_same(network, run, shapes=SHAPES):
    for shape in shapes:
        images = torch.randn(shape)
        expected = network(images)
        scale = expected.std()
        torch.testing.assert_close(run(images) / scale, expected / scale, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("target", ONNX_OWN)
def test_onnx_of_our_networks(tmp_path, target):
    pytest.importorskip("onnxscript")
    network = own_network(target)
    export_model(network, tmp_path / "model.onnx", "onnx", (97, 65))
    _, run = run_onnx(tmp_path / "model.onnx")
    assert_same(network, run)


@pytest.mark.slow
@pytest.mark.parametrize("target", PROGRAM_OWN)
def test_program_of_our_networks(tmp_path, target):
    network = own_network(target)
    export_model(network, tmp_path / "model.pt2", "torch", (97, 65))
    assert_same(network, torch.export.load(tmp_path / "model.pt2").module())


@pytest.mark.slow
@pytest.mark.parametrize("name", [DEFAULT_MODEL, "deeplabv3_mobilenet_v3_large"])
def test_registered_models_with_metadata(tmp_path, name):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    spec = MODELS[name]
    network = load_network(spec, None, untrained=True)
    metadata = export_metadata(spec)
    export_model(network, tmp_path / "model.onnx", "onnx", (129, 129), metadata=metadata)
    session, run = run_onnx(tmp_path / "model.onnx")
    assert_same(network, run)
    assert session.get_inputs()[0].shape[1] == 3
    properties = session.get_modelmeta().custom_metadata_map
    assert json.loads(properties["classes"])[:2] == ["background", "aeroplane"]
    assert json.loads(properties["mean"]) == list(spec.preprocessing.mean)
    assert properties["grid_alignment"] == spec.alignment
    onnx.checker.check_model(str(tmp_path / "model.onnx"), full_check=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.onnx"]  # no side files
    export_model(network, tmp_path / "model.pt2", "torch", (129, 129), metadata=metadata)
    found = {"maskmill.json": ""}
    program = torch.export.load(tmp_path / "model.pt2", extra_files=found)
    assert_same(network, program.module())
    assert json.loads(found["maskmill.json"]) == json.loads(json.dumps(metadata))


def test_a_network_in_training_stays_in_training(tmp_path):
    network = own_network(ONNX_OWN[0]).train()
    export_model(network, tmp_path / "model.pt2", "torch", (65, 65))
    assert network.training
    assert_same(network.eval(), torch.export.load(tmp_path / "model.pt2").module())


class Branching(nn.Module):
    """A network whose path depends on the values it sees."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)

    def forward(self, images):
        return self.conv(images) if images.sum() > 0 else self.conv(-images)


def test_failures_say_why_and_leave_no_file(tmp_path):
    with pytest.raises(SettingsError, match="'coreml'; there are: onnx, torch"):
        export_model(nn.Conv2d(3, 2, 1), tmp_path / "model", "coreml", (32, 32))
    with pytest.raises(ModelError, match="Branching cannot be exported"):
        export_model(Branching(), tmp_path / "model.pt2", "torch", (32, 32))
    assert list(tmp_path.iterdir()) == []
