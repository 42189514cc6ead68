"""A user's own TFLite or TFJS DeepLab: kept by name, listed, used."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from maskmill.pipeline.models.facts import describe
from maskmill.pipeline.models.networks.tf_mobilenetv2 import build
from maskmill.pipeline.models.registry import MODELS, all_models, find_model
from maskmill.pipeline.models.segmenter import Segmenter, load_network
from maskmill.pipeline.models.spec import labels_of
from maskmill.pipeline.models.weights.imported import import_model, imported_models
from maskmill.pipeline.models.weights.origins import resolve_weights
from maskmill.pipeline.views.preparation import prepare
from maskmill.schemas.errors import ModelError, SettingsError
from maskmill.schemas.labels import LabelMap, builtin
from tests.pipeline.models.tfjs_writer import write_tfjs

LABELS = LabelMap.from_names("fruit", ["background", "apple", "pear", "plum", "fig"])


@pytest.fixture
def graph_file(tmp_path):
    torch.manual_seed(1)
    (tmp_path / "graph").mkdir()
    return write_tfjs(build(5, width=0.5), tmp_path / "graph")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MASKMILL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_imported_listed_found_and_run(graph_file, cache):
    spec = import_model(graph_file, name="fruit-1", labels=LABELS, image_size=129)
    assert imported_models() == {"fruit-1": spec}
    assert list(all_models()) == [*MODELS, "fruit-1"]
    assert find_model("fruit-1") == spec
    assert labels_of(spec) == LABELS
    one = Segmenter(spec, resolve_weights(spec), precision="fp32")
    image = np.zeros((40, 60, 3), np.uint8)
    (answer,) = one.forward([prepare(image, spec.preprocessing)])
    assert answer.logits.shape == (5, 12, 17)  # 86 x 129 of a 129 square, stride 8
    torch.manual_seed(1)
    original = build(5, width=0.5).eval()
    with torch.inference_mode():
        pixels = torch.randn(1, 3, 33, 33)
        expected = original(pixels)
        found = load_network(spec, resolve_weights(spec))(pixels)
    assert torch.allclose(found, expected, atol=1e-5)


def test_a_quantised_tflite_file_keeps_its_grids_and_its_mean(shared, cache):
    file = shared / "weights" / "deeplabv3_mnv2_ade20k_int8.tflite"
    spec = import_model(file, name="ade", labels=builtin("ade20k32"), image_size=512)
    ours = MODELS["deeplabv3plus_mobilenetv2_ade20k"]
    assert spec.preprocessing == ours.preprocessing
    assert (spec.alignment, spec.precisions) == (ours.alignment, ours.precisions)
    assert (spec.output_stride, spec.grid_stride) == (16, 4)
    assert spec.weights.digest == ours.weights.digest
    imported = load_network(spec, resolve_weights(spec)).state_dict()
    direct = load_network(ours, file).state_dict()
    assert imported.keys() == direct.keys()
    assert all(torch.equal(imported[name], direct[name]) for name in direct)


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "x" * 65, "with space"])
def test_names_are_plain_words(graph_file, cache, name):
    with pytest.raises(SettingsError, match="cannot name a model"):
        import_model(graph_file, name=name, labels=LABELS)
    assert not cache.exists()


def test_names_of_maskmill_itself_are_taken(graph_file, cache):
    with pytest.raises(SettingsError, match="choose another name"):
        import_model(graph_file, name="deeplabv3_resnet50", labels=LABELS, taken=tuple(MODELS))


def test_labels_must_have_as_many_classes_as_the_file(graph_file, cache):
    with pytest.raises(SettingsError, match=r"5 classes apart, label map 'voc' has 21"):
        import_model(graph_file, name="fruit", labels=builtin("voc"))
    assert imported_models() == {}


def test_other_files_are_refused(tmp_path, cache):
    (tmp_path / "model.onnx").write_bytes(b"onnx")
    with pytest.raises(ModelError, match="neither"):
        import_model(tmp_path / "model.onnx", name="x", labels=LABELS)
    with pytest.raises(ModelError, match="no model file"):
        import_model(tmp_path / "absent.tflite", name="x", labels=LABELS)


def test_a_second_import_replaces_the_first(graph_file, cache):
    import_model(graph_file, name="fruit", labels=LABELS, image_size=129)
    import_model(graph_file, name="fruit", labels=LABELS, image_size=257)
    assert imported_models()["fruit"].preprocessing.size == 257


def test_broken_and_vanished_imports_say_what_to_do(graph_file, cache):
    spec = import_model(graph_file, name="fruit", labels=LABELS)
    resolve_weights(spec).unlink()
    with pytest.raises(ModelError, match="import it again"):
        resolve_weights(spec)
    card = cache / "models" / "imported" / "fruit" / "model.json"
    for broken in (json.dumps({"layout": {}}), "[" * 100_000):
        card.write_text(broken)
        with pytest.raises(ModelError, match="import the model again"):
            imported_models()


def test_cards_of_before_tensorflows_own_files_are_read(graph_file, cache):
    """They held the layout of a TfMobileNetV2DeepLab and one number for mean and deviation."""
    spec = import_model(graph_file, name="fruit", labels=LABELS, image_size=129)
    path = cache / "models" / "imported" / "fruit" / "model.json"
    card = json.loads(path.read_text())
    layout = {name: value for name, value in card["options"].items() if name != "hidden"}
    kept = ("image_size", "labels", "licence", "file", "sha256")
    old = {"layout": layout, "mean": 127.5, "std": 127.5, **{key: card[key] for key in kept}}
    path.write_text(json.dumps(old))
    found = imported_models()["fruit"]
    assert dict(found.options) == {k: v for k, v in dict(spec.options).items() if k != "hidden"}
    assert (found.architecture, found.preprocessing) == (spec.architecture, spec.preprocessing)
    assert load_network(found, resolve_weights(found)).layout.widths == layout_widths(spec)


def layout_widths(spec):
    return dict(spec.options)["widths"]


def test_an_unknown_name_lists_imported_ones_too(graph_file, cache):
    import_model(graph_file, name="fruit", labels=LABELS)
    with pytest.raises(SettingsError, match=r"no model 'nope'; there are: .*fruit"):
        find_model("nope")


def test_registry_and_imports_are_read_without_torch(graph_file, cache):
    import_model(graph_file, name="fruit", labels=LABELS)
    code = (
        "import sys; from maskmill.pipeline.models.registry import all_models;"
        "assert 'fruit' in all_models(); assert 'torch' not in sys.modules, 'torch'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("name", MODELS)
def test_facts_are_plain_and_complete(name):
    facts = json.loads(json.dumps(describe(MODELS[name])))
    assert facts["name"] == name
    assert facts["parameters"] > 100_000
    assert len(facts["classes"]) == len(builtin(MODELS[name].labels).classes)
    for field in ("architecture", "description", "input", "origin"):
        assert facts[field]


def test_facts_of_the_default_model():
    facts = describe(MODELS["deeplabv3_mobilenetv2_x05_voc"])
    assert facts["parameters"] == 688_357
    assert facts["input"] == "longest side scaled to 513, padded to 513x513"
    assert facts["sha256"].startswith("9711334d")
    assert facts["licence"].startswith("MIT")
