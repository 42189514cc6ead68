"""A spec and a weights file become a network, also where another project wrote the file."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from maskmill.pipeline.models import loading
from maskmill.pipeline.models.loading import build_network, load_model
from maskmill.pipeline.models.registry import MODELS
from maskmill.pipeline.models.segmenter import Segmenter
from maskmill.pipeline.views.preparation import prepare
from maskmill.schemas.errors import ModelError
from tests.pipeline.models.foreign_networks import Vainf, randomize

X05, RESNET = MODELS["deeplabv3_mobilenetv2_x05_voc"], MODELS["deeplabv3_resnet50"]


@pytest.fixture
def vainf_file(tmp_path):
    torch.manual_seed(8)
    theirs = randomize(Vainf("mobilenet", 5, 16, plus=True)).eval()
    torch.save({"model_state": theirs.state_dict()}, tmp_path / "best.pth")
    return tmp_path / "best.pth", theirs


def test_another_projects_checkpoint_brings_its_own_network(vainf_file):
    path, theirs = vainf_file
    model = load_model(RESNET, path)
    assert model.spec.builder == "maskmill.pipeline.models.networks.deeplabv3plus:build"
    assert (model.spec.output_stride, model.spec.grid_stride) == (16, 4)
    assert model.spec.preprocessing == RESNET.preprocessing
    assert any("output stride" in note for note in model.notes)
    pixels = torch.randn(1, 3, 65, 97, dtype=torch.float64)
    with torch.inference_mode():
        expected, found = theirs.double()(pixels), model.network.double()(pixels)
        shape = expected.shape[2:]
        grid = torch.nn.functional.interpolate(found, shape, mode="bilinear", align_corners=False)
    assert torch.allclose(grid, expected, atol=1e-6 * float(expected.abs().max()))


def test_the_segmenter_takes_its_grid_and_class_count(vainf_file):
    one = Segmenter(RESNET, vainf_file[0], precision="fp32")
    assert one.num_classes == 5
    assert one.notes
    image = np.zeros((64, 96, 3), np.uint8)
    (answer,) = one.forward([prepare(image, one.spec.preprocessing, image_size=64)])
    assert answer.logits.shape == (5, 16, 24)


def test_a_model_with_another_input_rule_refuses_it(vainf_file):
    with pytest.raises(ModelError, match=r"VainF.*choose a model of that kind with --model"):
        load_model(X05, vainf_file[0])


def test_a_misfit_of_the_models_own_names_is_said_in_them(tmp_path):
    state = build_network(RESNET, 21).state_dict()
    del state["classifier.4.bias"]
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"1 missing: classifier\.4\.bias"):
        load_model(RESNET, tmp_path / "w.pth")


class WithScale(torch.nn.Module):
    """A network with a value that no file holds."""

    def __init__(self, num_classes):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, num_classes, 1)
        self.register_buffer("scale", torch.tensor(3.0), persistent=False)

    def forward(self, pixels):
        return self.conv(pixels) * self.scale


def test_what_no_file_holds_comes_from_the_builder(tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "load_attribute", lambda _: WithScale)
    state = WithScale(21).state_dict()
    assert "scale" not in state
    torch.save(state, tmp_path / "w.pth")
    network = load_model(replace(RESNET, options=()), tmp_path / "w.pth").network
    assert network.scale == 3 and torch.equal(network.conv.weight, state["conv.weight"])


def test_half_precision_files_fill_a_float32_network(tmp_path):
    state = build_network(X05, 21).state_dict()
    torch.save({key: value.half() for key, value in state.items()}, tmp_path / "w.pth")
    filled = load_model(X05, tmp_path / "w.pth").network.state_dict()
    assert all(value.dtype == torch.float32 for value in filled.values())
    assert all(torch.equal(filled[key], value.half().float()) for key, value in state.items())


@pytest.mark.parametrize("encoder", ["resnet18", "resnet50"])
def test_a_plain_state_dict_whose_encoder_is_named_like_ours_is_still_theirs(tmp_path, encoder):
    smp = pytest.importorskip("segmentation_models_pytorch")
    theirs = smp.DeepLabV3Plus(encoder, encoder_weights=None, classes=3)
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    model = load_model(MODELS["deeplabv3plus_resnet50"], tmp_path / "w.pth")
    assert model.spec.architecture == "segmentation-models-pytorch DeepLabV3Plus"
    torch.save({**theirs.state_dict(), "attention.scale": torch.zeros(1)}, tmp_path / "odd.pth")
    with pytest.raises(ModelError, match=r"1 of its tensors have no place.*: attention\.scale"):
        load_model(MODELS["deeplabv3plus_resnet50"], tmp_path / "odd.pth")


def test_a_head_for_training_is_left_out_and_named(tmp_path):
    state = build_network(X05, 21).state_dict()
    torch.save({**state, "aux_classifier.4.bias": torch.zeros(21)}, tmp_path / "w.pth")
    model = load_model(X05, tmp_path / "w.pth")
    assert model.notes == ("left out aux_classifier: it serves training only",)


def test_a_file_of_nobody_we_know_is_explained(tmp_path):
    torch.save({"some.layer.weight": torch.zeros(3)}, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"missing: .*1 unexpected: some\.layer\.weight"):
        load_model(X05, tmp_path / "w.pth")


def test_tflite_weights_fill_their_model_and_no_other(shared):
    file = shared / "weights" / "deeplabv3_mnv2_ade20k_int8.tflite"
    model = load_model(MODELS["deeplabv3plus_mobilenetv2_ade20k"], file)
    assert model.notes == ()
    with pytest.raises(ModelError, match="does not fit"):
        load_model(X05, file)
