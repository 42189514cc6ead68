"""Exported networks: run by onnxruntime and torch.export, any batch and size, equal to 1e-4."""

import json

import pytest
import torch
from torch import nn

from maskmill.pipeline.models import export
from maskmill.pipeline.models.export import export_metadata, export_model
from maskmill.pipeline.models.loading import load_network
from maskmill.pipeline.models.networks.deeplabv3plus import build
from maskmill.pipeline.models.registry import DEFAULT_MODEL, MODELS
from maskmill.schemas.errors import ModelError, SettingsError
from tests.pipeline.models.foreign_networks import randomize

SHAPES = [(1, 3, 65, 97), (3, 3, 129, 50), (2, 3, 64, 64)]


def own_network(encoder):
    torch.manual_seed(10)
    return randomize(build(4, encoder=encoder, aspp_separable="normalized"))


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


@pytest.mark.thorough
def test_onnx_of_our_networks(tmp_path):
    pytest.importorskip("onnxscript")
    network = own_network("resnet18")
    export_model(network, tmp_path / "model.onnx", "onnx", (97, 65))
    _, run = run_onnx(tmp_path / "model.onnx")
    assert_same(network, run)


@pytest.mark.thorough
def test_program_of_our_networks(tmp_path):
    network = own_network("mobilenetv3_large")
    export_model(network, tmp_path / "model.pt2", "torch", (97, 65))
    assert_same(network, torch.export.load(tmp_path / "model.pt2").module())


@pytest.mark.thorough
def test_a_registered_model_with_metadata(tmp_path):
    spec = MODELS[DEFAULT_MODEL]
    network = load_network(spec, None, untrained=True)
    metadata = export_metadata(spec)
    export_model(network, tmp_path / "model.pt2", "torch", (129, 129), metadata=metadata)
    found = {"maskmill.json": ""}
    program = torch.export.load(tmp_path / "model.pt2", extra_files=found)
    assert_same(network, program.module())
    said = json.loads(found["maskmill.json"])
    assert said == json.loads(json.dumps(metadata))
    assert said["classes"][:2] == ["background", "aeroplane"]
    assert said["mean"] == list(spec.preprocessing.mean)
    assert said["grid_alignment"] == spec.alignment


def test_a_network_in_training_stays_in_training(tmp_path):
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)).train()
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


def test_without_its_packages_onnx_names_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(export.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ModelError, match="needs onnx and onnxscript: pip install onnx onnxscript"):
        export_model(nn.Conv2d(3, 2, 1), tmp_path / "model.onnx", "onnx", (32, 32))
    assert list(tmp_path.iterdir()) == []


def test_failures_say_why_and_leave_no_file(tmp_path):
    with pytest.raises(SettingsError, match="'coreml'; there are: onnx, torch"):
        export_model(nn.Conv2d(3, 2, 1), tmp_path / "model", "coreml", (32, 32))
    with pytest.raises(ModelError, match="Branching cannot be exported"):
        export_model(Branching(), tmp_path / "model.pt2", "torch", (32, 32))
    assert list(tmp_path.iterdir()) == []
