"""What a command makes of --model, --weights and --labels: the network that really runs."""

import pytest
import torch
from safetensors.torch import save_file

from maskmill.pipeline.models.choice import choose_model
from maskmill.pipeline.models.loading import build_network, load_model
from maskmill.pipeline.models.network_options import NetworkOptions, parse_network_options
from maskmill.pipeline.models.recognition import facts_of, recognise
from maskmill.pipeline.models.registry import DEFAULT_MODEL, MODELS
from maskmill.schemas.errors import ModelError, SettingsError
from tests.pipeline.models.foreign_networks import Mmseg, Vainf


@pytest.fixture(scope="module")
def vainf(tmp_path_factory):
    torch.manual_seed(8)
    path = tmp_path_factory.mktemp("vainf") / "best.pth"
    torch.save({"model_state": Vainf("mobilenet", 5, 16, plus=True).state_dict()}, path)
    return path


def test_no_name_and_no_weights_is_the_default_model():
    assert choose_model(untrained=True).spec.name == DEFAULT_MODEL
    assert choose_model(None, None, None, untrained=True).spec.name == DEFAULT_MODEL


def test_weights_without_a_name_are_what_they_are(vainf):
    choice = choose_model(weights=str(vainf))
    assert choice.title == "vainf_deeplabv3plus_mobilenetv2"
    assert "MobileNetV2" in choice.spec.architecture and "VainF" in choice.spec.architecture
    assert (choice.spec.output_stride, choice.spec.preprocessing.resize) == (16, "none")
    assert choice.weights_kind == "own"
    assert (
        "DeepLabv3+ with MobileNetV2, output stride 16, 5 classes, as VainF's "
        "DeepLabV3Plus-Pytorch saves it"
    ) in choice.notes[0]
    assert any("unnamed" in note for note in choice.notes)
    assert choice.labels.names == ("0", "1", "2", "3", "4")
    assert choice.labels.background_index is None


def test_what_is_asked_for_decides_and_is_not_assumed(vainf):
    choice = choose_model(weights=str(vainf), output_stride=8, network_options=("rates=3,6,9",))
    options = dict(choice.spec.options)
    assert (options["output_stride"], options["aspp_rates"]) == (8, (3, 6, 9))
    assert not any("assumed" in note for note in choice.notes)
    network = load_model(choice.spec, choice.weights_path).network
    rates = [branch.conv.dilation[0] for branch in network.aspp.branches[1:]]
    assert rates == [3, 6, 9]


def test_another_kind_of_model_is_refused_naming_the_right_one(vainf):
    said = (
        r"which --model deeplabv3_resnet50 is not: "
        r"leave --model out, or give --model deeplabv3plus_mobilenetv2"
    )
    with pytest.raises(SettingsError, match=said):
        choose_model("deeplabv3_resnet50", str(vainf))
    with pytest.raises(SettingsError, match="leave --model out"):
        choose_model(DEFAULT_MODEL, str(vainf))
    choice = choose_model("deeplabv3plus_mobilenetv2", str(vainf))
    assert choice.spec.layout == "vainf_v3plus"  # the kind fits; what runs is the file's own


def test_class_names_in_the_file_are_taken(tmp_path):
    state = Mmseg(2, plus=False, deep_stem=False).state_dict()
    meta = {"dataset_meta": {"classes": ("background", "weed"), "palette": [[0, 0, 0], [9, 8, 7]]}}
    torch.save({"meta": meta, "state_dict": state}, tmp_path / "iter.pth")
    choice = choose_model(weights=str(tmp_path / "iter.pth"))
    assert choice.labels.names == ("background", "weed")
    assert choice.labels.background_index == 0
    assert choice.labels.classes[1].color == (9, 8, 7)
    assert choose_model(weights=str(tmp_path / "iter.pth"), labels="voc").labels.name == "voc"


@pytest.mark.parametrize("name", ["deeplabv3_mobilenetv2_voc", "deeplabv3plus_mobilenetv2"])
def test_files_of_our_own_networks_are_recognised(tmp_path, name):
    state = build_network(MODELS[name], 7).state_dict()
    save_file(state, tmp_path / "own.safetensors")
    found = recognise(tmp_path / "own.safetensors")
    assert found.spec == MODELS[name]
    assert (found.num_classes, found.project, found.labels) == (7, "maskmill", None)
    assert facts_of(found)["models"] == [name]


def test_unknown_files_say_what_they_have(tmp_path):
    torch.save({"state_dict": {"blah.weight": torch.zeros(1)}}, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"no DeepLab that is known.*mmsegmentation.*blah\.weight"):
        choose_model(weights=str(tmp_path / "w.pth"))
    with pytest.raises(ModelError, match="no such file"):
        choose_model(weights=str(tmp_path / "absent.pth"))


def test_four_channels_are_refused_with_the_reason(tmp_path):
    smp = pytest.importorskip("segmentation_models_pytorch")
    model = smp.DeepLabV3Plus("resnet18", encoder_weights=None, in_channels=4, classes=2)
    torch.save(model.state_dict(), tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"pictures of 4 channels.*three \(RGB\)"):
        choose_model(weights=str(tmp_path / "w.pth"))


def test_network_options_are_parsed_or_refused():
    found = parse_network_options(("rates=6,12,18", "align_corners=no", "last_rates=1,2,4"))
    assert found == NetworkOptions(rates=(6, 12, 18), align_corners=False, last_rates=(1, 2, 4))
    for text in ("rates", "rates=", "rates=a", "rates=0,1", "speed=3", "align_corners=maybe"):
        with pytest.raises(SettingsError, match="--network-option"):
            parse_network_options((text,))
    options = ("rates=2,4,6",)
    choice = choose_model("deeplabv3plus_mobilenetv2", untrained=True, network_options=options)
    assert dict(choice.spec.options)["aspp_rates"] == (2, 4, 6)
    with pytest.raises(SettingsError, match="does not apply"):
        choose_model(DEFAULT_MODEL, untrained=True, network_options=options)


def test_a_folder_is_named_for_what_it_is(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01")
    for name in (None, "deeplabv3_resnet50"):
        with pytest.raises(ModelError, match="SavedModel: freeze it"):
            choose_model(name, str(tmp_path))


def test_a_safetensors_file_cut_short_is_said_to_be_so(tmp_path, vainf):
    whole, cut = tmp_path / "whole.safetensors", tmp_path / "cut.pth"
    save_file(torch.load(vainf)["model_state"], whole)
    for length in (20, whole.stat().st_size // 2):
        cut.write_bytes(whole.read_bytes()[:length])
        with pytest.raises(ModelError, match="cut short"):
            choose_model(None, str(cut))


@pytest.mark.parametrize(
    "text", ["pool_window=3", "pool_window=1,2,3", "norm_groups=0", "weight_std=maybe"]
)
def test_what_a_network_option_cannot_be_is_refused(text):
    with pytest.raises(SettingsError, match="network-option"):
        parse_network_options([text])


def test_network_options_of_pooling_and_norms():
    options = parse_network_options(["pool_window=0,0", "norm_groups=16", "weight_std=false"])
    assert (options.pool_window, options.norm_groups, options.weight_std) == ((0, 0), 16, False)
