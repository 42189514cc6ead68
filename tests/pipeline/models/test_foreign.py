"""Other people's checkpoints: built there, saved, loaded here, the same outputs to 1e-4."""

import pytest
import torch
from torch import nn
from torchvision.models import segmentation

from maskmill.pipeline.models.adaptation import at_output_stride
from maskmill.pipeline.models.loading import build_network, load_model
from maskmill.pipeline.models.network_options import NetworkOptions
from maskmill.pipeline.models.registry import MODELS
from maskmill.pipeline.models.spec import load_attribute
from maskmill.pipeline.models.weights.foreign import adapt_checkpoint
from maskmill.pipeline.models.weights.foreign_state import foreign_layout
from maskmill.pipeline.models.weights.state import fill_network, load_state
from maskmill.schemas.errors import ModelError
from tests.pipeline.models.foreign_networks import Mmseg, Vainf, make_separable, randomize
from tests.thorough import sampled

CLASSES = 5


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(8)


def loaded(path, **options):
    """The adapted checkpoint of a file, and its network here."""
    adapted = adapt_checkpoint(load_state(path), where=str(path), **options)
    network = load_attribute(adapted.builder)(adapted.num_classes, **dict(adapted.options))
    network.load_state_dict(adapted.state)  # strict
    return adapted, network.eval()


@torch.no_grad()
def assert_same(theirs: nn.Module, ours: nn.Module, height=65, width=97):
    """In float64: what float32 rounds differs between processors, and grows with depth."""
    images = torch.randn(2, 3, height, width, dtype=torch.float64)
    expected, found = theirs.double()(images), ours.double()(images)
    scale = (expected - expected.mean((0, 2, 3), keepdim=True)).std()
    assert scale > 0  # equality of constants would prove nothing
    torch.testing.assert_close(found / scale, expected / scale, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("output_stride", [8, 16])
@pytest.mark.parametrize("backbone", ["mobilenet", "resnet50"])
@pytest.mark.parametrize("plus", sampled([True, False], 2))
def test_vainf(tmp_path, backbone, plus, output_stride):
    theirs = randomize(Vainf(backbone, CLASSES, output_stride, plus=plus))
    document = {"cur_itrs": 30000, "model_state": theirs.state_dict(), "best_score": 0.7}
    torch.save(document, tmp_path / "best.pth")
    adapted, ours = loaded(tmp_path / "best.pth", output_stride=output_stride)
    assert adapted.layout == ("vainf_v3plus" if plus else "vainf_v3")
    assert adapted.grid_stride == (4 if plus else output_stride)
    assert adapted.alignment == "half_pixel"
    assert_same(theirs, ours)


@pytest.mark.parametrize("output_stride", [8, 16])
def test_the_output_stride_asked_for_reaches_a_foreign_checkpoint(tmp_path, output_stride):
    """Also where that is the stride of the model which the user named."""
    theirs = randomize(Vainf("mobilenet", CLASSES, output_stride, plus=False))
    torch.save({"model_state": theirs.state_dict()}, tmp_path / "best.pth")
    spec = at_output_stride(MODELS["deeplabv3_resnet50_parallel"], output_stride)
    model = load_model(spec, tmp_path / "best.pth")
    assert model.spec.output_stride == output_stride
    assert not any("--output-stride" in note for note in model.notes)
    assert_same(theirs, model.network)


def test_without_a_wish_the_project_decides_and_the_note_names_the_option():
    state = Mmseg(CLASSES, plus=False).state_dict()
    assert MODELS["deeplabv3_resnet50_parallel"].output_stride == 16
    adapted = adapt_checkpoint(state)
    assert adapted.output_stride == 8
    assert any("--output-stride 16 if it was trained at 16" in note for note in adapted.notes)
    asked = adapt_checkpoint(state, output_stride=16)
    assert asked.output_stride == 16
    assert not any("--output-stride" in note for note in asked.notes)
    assert any("rates 6,12,18 are assumed" in note for note in asked.notes)


def test_vainf_separable(tmp_path):
    theirs = Vainf("mobilenet", CLASSES, 16, plus=True)
    make_separable(theirs.classifier)
    randomize(theirs)
    torch.save({"model_state": theirs.state_dict()}, tmp_path / "best.pth")
    adapted, ours = loaded(tmp_path / "best.pth")
    assert dict(adapted.options)["aspp_separable"] == "plain"
    assert_same(theirs, ours)


@pytest.mark.parametrize("options", sampled([
    {"plus": True}, {"plus": True, "separable_bottleneck": True}, {"plus": True, "width": 48},
    {"plus": True, "deep_stem": False}, {"plus": False}, {"plus": False, "deep_stem": False},
], 3))  # fmt: skip
def test_mmsegmentation(tmp_path, options):
    theirs = randomize(Mmseg(CLASSES, **options))
    document = {"meta": {"epoch": 3, "PALETTE": [[1, 2, 3]]}, "state_dict": theirs.state_dict()}
    torch.save(document, tmp_path / "iter_80000.pth")
    adapted, ours = loaded(tmp_path / "iter_80000.pth")
    assert adapted.layout == ("mmseg_v3plus" if options["plus"] else "mmseg_v3")
    assert any("auxiliary_head" in note for note in adapted.notes)
    assert_same(theirs, ours)


class Wrapped(nn.Module):
    """Their network up to the logits, before the upsampling that is in its last layer."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images):
        network = self.network
        return network.segmentation_head[0](network.decoder(network.encoder(images)))


@pytest.mark.parametrize(("architecture", "encoder", "options"), sampled([
    ("DeepLabV3Plus", "resnet34", {}),
    ("DeepLabV3Plus", "resnet50", {"encoder_output_stride": 8}),
    ("DeepLabV3Plus", "resnet18", {"decoder_aspp_separable": False, "decoder_channels": 64}),
    ("DeepLabV3Plus", "tu-mobilenetv3_large_100", {}),
    ("DeepLabV3Plus", "tu-xception65", {}),
    ("DeepLabV3", "resnet18", {}),
    ("DeepLabV3", "resnet50", {"decoder_aspp_separable": True}),
], 3))  # fmt: skip
def test_segmentation_models_pytorch(tmp_path, architecture, encoder, options):
    smp = pytest.importorskip("segmentation_models_pytorch")
    model = getattr(smp, architecture)(
        encoder, encoder_weights=None, classes=CLASSES, aux_params={"classes": 3}, **options
    )
    randomize(model)
    lightning = {f"model.{key}": value for key, value in model.state_dict().items()}
    torch.save({"state_dict": lightning, "epoch": 4}, tmp_path / "last.ckpt")
    twin = "mobilenetv3_large" if "mobilenetv3" in encoder else None
    adapted, ours = loaded(
        tmp_path / "last.ckpt",
        output_stride=options.get("encoder_output_stride"),
        wanted=NetworkOptions(encoder=twin),
    )
    assert adapted.layout == ("smp_v3plus" if architecture.endswith("Plus") else "smp_v3")
    assert adapted.alignment == "align_corners"
    assert any("classification_head" in note for note in adapted.notes)
    assert_same(Wrapped(model), ours, 64, 96)  # it takes multiples of 16 only


def test_encoders_of_timm_under_other_arithmetic(tmp_path):
    """tu-: the same tensors as the project's own encoders, other rates, padding and epsilon."""
    smp = pytest.importorskip("segmentation_models_pytorch")
    model = randomize(smp.DeepLabV3Plus("tu-resnet18", encoder_weights=None, classes=CLASSES))
    torch.save(model.state_dict(), tmp_path / "timm.pth")
    _, ours = loaded(tmp_path / "timm.pth")
    assert_same(Wrapped(model), ours, 64, 96)
    model = smp.DeepLabV3Plus("tu-efficientnet_b0", encoder_weights=None, classes=CLASSES)
    torch.save(model.state_dict(), tmp_path / "efficient.pth")
    with pytest.raises(ModelError, match=r"timm's efficientnet_b0 .* neither is known"):
        loaded(tmp_path / "efficient.pth")


@pytest.mark.parametrize("is_averaged", [False, True])
def test_weights_under_other_names(tmp_path, is_averaged):
    """PyTorch's AveragedModel counts in a tensor of its own; two networks are none."""
    smp = pytest.importorskip("segmentation_models_pytorch")
    model = randomize(smp.DeepLabV3Plus("resnet18", encoder_weights=None, classes=CLASSES))
    if is_averaged:
        averaged = torch.optim.swa_utils.AveragedModel(model)
        torch.save({"ema_model": averaged.state_dict()}, tmp_path / "last.pth")
        assert loaded(tmp_path / "last.pth")[0].num_classes == CLASSES
        return
    state = model.state_dict()
    torch.save({"model_a": state, "model_b": state}, tmp_path / "last.pth")
    with pytest.raises(ModelError, match="holds tensors under model_a, model_b"):
        loaded(tmp_path / "last.pth")


def test_a_changed_head_of_torchvision_is_refused(tmp_path):
    model = segmentation.deeplabv3_mobilenet_v3_large(weights=None, weights_backbone=None)
    model.classifier = nn.Sequential(*list(model.classifier)[:4], nn.Dropout(), model.classifier[4])
    torch.save(model.state_dict(), tmp_path / "dropout.pth")
    with pytest.raises(ModelError, match=r"no classifier\.4\.weight: its head was changed"):
        loaded(tmp_path / "dropout.pth")


def test_segmentation_models_pytorch_before_its_decoder_had_names(tmp_path):
    smp = pytest.importorskip("segmentation_models_pytorch")
    model = randomize(smp.DeepLabV3("resnet18", encoder_weights=None, classes=CLASSES))
    places = {"decoder.aspp": "decoder.0", "decoder.conv": "decoder.1", "decoder.bn": "decoder.2"}
    old = {}
    for key, value in model.state_dict().items():
        part = ".".join(key.split(".")[:2])
        old[key.replace(part, places.get(part, part), 1)] = value
    torch.save(old, tmp_path / "old.pth")
    adapted, ours = loaded(tmp_path / "old.pth")
    assert adapted.layout == "smp_v3_sequential"
    assert_same(Wrapped(model), ours, 64, 96)


@pytest.mark.parametrize(
    "variant",
    sampled(["deeplabv3_mobilenet_v3_large", "deeplabv3_resnet50", "deeplabv3_resnet101"], 3),
)
def test_torchvision_reference_training(tmp_path, variant):
    model = randomize(
        getattr(segmentation, variant)(
            weights=None, weights_backbone=None, num_classes=CLASSES, aux_loss=True
        )
    )
    parallel = {f"module.{key}": value for key, value in model.state_dict().items()}
    torch.save({"model": parallel, "optimizer": {}, "epoch": 2}, tmp_path / "model_2.pth")
    adapted, ours = loaded(tmp_path / "model_2.pth")
    assert dict(adapted.options) == {"variant": variant}
    assert any("aux_classifier" in note for note in adapted.notes)
    images = torch.randn(2, 3, 65, 97, dtype=torch.float64)
    with torch.no_grad():
        logits = nn.functional.interpolate(
            ours.double()(images), (65, 97), mode="bilinear", align_corners=False
        )
        expected = model.double()(images)["out"]
    assert expected.std() > 1e-3
    torch.testing.assert_close(logits, expected, atol=1e-9, rtol=1e-9)


def test_torchvisions_networks_have_one_output_stride():
    with torch.device("meta"):
        state = segmentation.deeplabv3_resnet50(weights_backbone=None, num_classes=2).state_dict()
    assert adapt_checkpoint(state, output_stride=8).output_stride == 8
    with pytest.raises(ModelError, match="output stride 8 and no other"):
        adapt_checkpoint(state, output_stride=16)


def test_old_files_without_batch_counters_load(tmp_path):
    theirs = randomize(Vainf("mobilenet", CLASSES, 16, plus=True))
    state = {k: v for k, v in theirs.state_dict().items() if "num_batches" not in k}
    torch.save(state, tmp_path / "old.pth")
    _, ours = loaded(tmp_path / "old.pth")
    assert_same(theirs, ours)


def test_the_spec_of_a_checkpoint_builds_its_network():
    theirs = randomize(Vainf("mobilenet", 1, 16, plus=True))
    adapted = adapt_checkpoint(theirs.state_dict())
    base = next(iter(MODELS.values()))
    spec = adapted.spec(base)
    assert (spec.labels, spec.preprocessing) == (base.labels, base.preprocessing)
    network = build_network(spec, adapted.num_classes)
    fill_network(network, adapted.state)
    assert_same(theirs, network)


@pytest.fixture(scope="module")
def vainf_state():
    torch.manual_seed(9)
    return Vainf("mobilenet", CLASSES, 16, plus=True).state_dict()


def test_unmapped_tensors_are_listed(vainf_state):
    state = {**vainf_state, "ocr_head.weight": torch.zeros(3), "edge.bias": torch.zeros(1)}
    with pytest.raises(ModelError, match=r"2 of its tensors.*ocr_head\.weight, edge\.bias"):
        adapt_checkpoint(state, where="mine.pth")


def test_missing_tensors_are_listed(vainf_state):
    state = {k: v for k, v in vainf_state.items() if k != "classifier.aspp.convs.2.1.bias"}
    with pytest.raises(ModelError, match=r"1 tensors do not fit.*aspp\.branches\.2\.norm\.bias"):
        adapt_checkpoint(state, where="mine.pth")


def test_another_encoder_is_refused_with_what_differs(vainf_state):
    state = dict(vainf_state)
    key = "backbone.high_level_features.17.conv.2.weight"
    state[key] = torch.zeros(400, *state[key].shape[1:])
    told = r"its encoder is mobilenetv2 but for some tensors.*1 of another shape: blocks\.\S+"
    with pytest.raises(ModelError, match=told):
        adapt_checkpoint(state)
    narrow = {key: one[: len(one) // 2] if one.ndim else one for key, one in state.items()}
    with pytest.raises(ModelError, match=r"none that is known.*mobilenetv2.*conv_stem\.weight"):
        adapt_checkpoint(narrow)


def test_unknown_layouts_are_refused_with_their_keys():
    state = {"blah.weight": torch.zeros(1)}
    assert foreign_layout(state) is None
    with pytest.raises(ModelError, match=r"none of the known layouts.*blah\.weight"):
        adapt_checkpoint(state)


def test_our_own_state_dicts_are_not_foreign():
    with torch.device("meta"):
        for name in ("deeplabv3plus_mobilenetv2", "deeplabv3_resnet50_parallel"):
            assert foreign_layout(build_network(MODELS[name], 2).state_dict()) is None


@pytest.mark.parametrize(
    "keys, told",
    [
        (
            ["backbone.layer4.0.conv1.weight"],
            r"resnet50 but .*1 missing: layer4\.0\.conv1\.weight\)",
        ),
        (
            ["backbone.layer4.0.bn1.weight", "backbone.conv1.weight"],
            r"resnet50 but .*\(2 missing: ",
        ),
        (["classifier.classifier.0.weight"], r"its decoder\.refine\.0\.conv\.weight is missing"),
    ],
)
def test_a_missing_tensor_is_named_and_not_the_encoder_doubted(tmp_path, keys, told):
    state = Vainf("resnet50", CLASSES, 16, plus=True).state_dict()
    for key in keys:
        del state[key]
    torch.save({"model_state": state}, tmp_path / "torn.pth")
    with pytest.raises(ModelError, match=told):
        loaded(tmp_path / "torn.pth")


def test_half_precision_is_not_rounded_again(tmp_path):
    """bubbliiiing's convolutions have biases before norms, which are worked into the norms."""
    biased = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).half()
    nn.init.normal_(biased[1].running_mean)
    torch.save(biased.state_dict(), tmp_path / "half.pth")
    found = load_state(tmp_path / "half.pth")
    assert found["0.bias"].dtype == torch.float32
    theirs = biased.state_dict()
    exact = theirs["1.running_mean"].double() - theirs["0.bias"].double()
    assert (found["1.running_mean"] - found["0.bias"]).double().sub(exact).abs().max() < 1e-6


@pytest.mark.parametrize(
    "content, told",
    [
        ([torch.zeros(2), torch.zeros(3)], "a list of 2 entries, 2 of them tensors without a name"),
        (torch.zeros(2, 3), r"a single tensor of shape \(2, 3\)"),
        (7, "a value of type int"),
    ],
)
def test_what_a_file_holds_in_place_of_weights_is_said(tmp_path, content, told):
    torch.save(content, tmp_path / "odd.pth")
    with pytest.raises(ModelError, match=f"{told}: save model.state_dict"):
        load_state(tmp_path / "odd.pth")
