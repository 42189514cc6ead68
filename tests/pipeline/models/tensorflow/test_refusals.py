"""TensorFlow files that cannot be imported, or not without a word more: one true sentence each."""

import lzma
from pathlib import Path

import numpy as np
import pytest

from maskmill.pipeline.models.registry import find_model
from maskmill.pipeline.models.weights.imported import import_model, imported_models
from maskmill.pipeline.models.weights.training_facts import Training
from maskmill.schemas.errors import ModelError, SettingsError
from maskmill.schemas.labels import LabelMap, builtin
from tests.pipeline.models.tensorflow.seeded import variable
from tests.pipeline.models.tensorflow.writers import (
    GOLDEN,
    constant,
    golden_nodes,
    node,
    number,
    part,
    write_checkpoint,
    write_graph,
)

SMALL = "mobilenetv2_logits_only"
THREE = LabelMap.from_names("three", ["background", "shelf", "box"])


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MASKMILL_CACHE", str(tmp_path / "cache"))


def refused(file: Path, error=ModelError, labels=THREE, **options) -> str:
    with pytest.raises(error) as caught:
        import_model(file, name="it", labels=labels, **options)
    assert imported_models() == {}
    assert file.name.partition(".")[0] in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("case", "count", "proposed"),
    [
        ("mobilenetv2", 21, "--labels voc, if it was trained on that"),
        ("mobilenetv2_x075_os8", 19, "--labels cityscapes, if it was trained on that"),
        ("mobilenetv2_plus", 151, "--labels ade20k, if it was trained on that"),
        (SMALL, 3, "--labels with a file of 3 entries"),
    ],
)
def test_labels_are_proposed_by_their_number_and_never_assumed(case, count, proposed, tmp_path):
    said = refused(write_graph(case, tmp_path), SettingsError, labels=None)
    assert f"{count} classes apart" in said
    assert proposed in said


def test_labels_of_another_number_are_refused(tmp_path):
    said = refused(write_graph(SMALL, tmp_path), SettingsError, labels=builtin("voc"))
    assert "3 classes apart, label map 'voc' has 21" in said


@pytest.mark.parametrize("share", [0.1, 0.5, 0.999])
def test_a_graph_that_breaks_off(share, tmp_path):
    graph = write_graph(SMALL, tmp_path)
    graph.write_bytes(graph.read_bytes()[: int(graph.stat().st_size * share)])
    assert "breaks off or is damaged" in refused(graph)


def test_bytes_that_are_no_graph(tmp_path):
    file = tmp_path / "noise.pb"
    file.write_bytes(np.random.RandomState(0).bytes(4000))
    assert "not a frozen TensorFlow graph" in refused(file)
    file.write_bytes(b"")
    assert "not a frozen TensorFlow graph" in refused(file)
    file.write_text('node {\n  name: "ImageTensor"\n  op: "Placeholder"\n}\n')
    assert "text form" in refused(file)


def test_a_saved_model_as_file_and_as_folder(tmp_path):
    folder = tmp_path / "exported"
    folder.mkdir()
    file = folder / "saved_model.pb"
    graph = lzma.decompress((GOLDEN / f"{SMALL}.pb.xz").read_bytes())
    file.write_bytes(number(1, 1) + part(2, part(2, graph)))
    assert "is a SavedModel" in refused(file)
    assert "is a SavedModel folder: give the frozen_inference_graph.pb" in refused(folder)
    assert "is a folder" in refused(tmp_path)


def test_a_graph_of_another_network(tmp_path):
    file = tmp_path / "inception.pb"
    weights = constant("InceptionV3/Conv2d_1a_3x3/weights", np.zeros((3, 3, 3, 8), np.float32))
    file.write_bytes(node("input", "Placeholder") + weights)
    assert "is not of TensorFlow DeepLab: it has no logits/semantic/weights" in refused(file)


def test_a_classifier_of_the_same_encoder(tmp_path):
    file = tmp_path / "classifier.pb"
    name = "MobilenetV2/Conv/weights"
    file.write_bytes(constant(name, variable(name, (3, 3, 3, 16))))
    assert "holds the encoder MobilenetV2 and no logits" in refused(file)


@pytest.mark.parametrize(
    ("suffix", "content", "said"),
    [
        (".keras", b"PK\3\4", "is a Keras file"),
        (".h5", b"\x89HDF\r\n", "is a Keras file"),
        (".pth", b"PK\3\4", "use it as it is, with --weights"),
        (".meta", b"", "give the .index file beside it"),
        (".onnx", b"\x08\x07", "models import` takes DeepLab's frozen_inference_graph.pb"),
    ],
)
def test_files_of_other_kinds(suffix, content, said, tmp_path):
    file = tmp_path / f"model{suffix}"
    file.write_bytes(content)
    assert said in refused(file)


def changed(tmp_path: Path, changes: dict[str, bytes], case: str = SMALL) -> Path:
    return write_graph(case, tmp_path, {**golden_nodes(case), **changes})


def convolution(name: str, source: str, scope: str, dilations: int = 1) -> bytes:
    sizes = {
        "strides": (1, 1, 1, 1),
        "dilations": (1, dilations, dilations, 1),
    }
    attributes = {key: part(1, b"".join(number(3, n) for n in v)) for key, v in sizes.items()}
    return node(
        name, "Conv2D", (source, f"{scope}/weights/read"), padding=part(2, b"SAME"), **attributes
    )


def test_changed_networks_are_not_taken_for_deeplab(tmp_path):
    activation = node("MobilenetV2/Conv/Relu", "Relu", ("MobilenetV2/Conv/Conv2D",))
    assert "not what DeepLab has there" in refused(
        changed(tmp_path, {"MobilenetV2/Conv/Relu6": activation})
    )
    extra = constant("squeeze/weights", np.zeros((1, 1, 8, 8), np.float32))
    assert "has squeeze/weights, which no DeepLab" in refused(changed(tmp_path, {"squeeze": extra}))
    rule = node("ResizeBilinear", "ResizeBilinear", ("logits/semantic/BiasAdd",))
    assert "without align_corners" in refused(changed(tmp_path, {"ResizeBilinear": rule}))
    scaled = constant("mul/x", np.array(1 / 255, np.float32))
    assert "does not scale pixels to -1" in refused(changed(tmp_path, {"mul/x": scaled}))
    other = convolution("logits/semantic/Conv2D", "MobilenetV2/Conv/Relu6", "logits/semantic", 2)
    assert "not what DeepLab has there" in refused(
        changed(tmp_path, {"logits/semantic/Conv2D": other})
    )


def test_rewired_networks_are_not_taken_for_deeplab(tmp_path):
    early = convolution("logits/semantic/Conv2D", "MobilenetV2/Conv/Relu6", "logits/semantic")
    said = refused(changed(tmp_path, {"logits/semantic/Conv2D": early}))
    assert "logits/semantic is not fed as in DeepLab" in said
    sums = [name for name in golden_nodes(SMALL) if name == "MobilenetV2/expanded_conv_4/add"]
    without = node(sums[0], "Identity", ("MobilenetV2/expanded_conv_4/project/Identity",))
    said = refused(changed(tmp_path, {sums[0]: without}))
    assert "MobilenetV2/expanded_conv_5/expand is not fed as in DeepLab" in said
    assert "MobilenetV2/expanded_conv_3/project" in said


def test_graphs_of_other_tools(tmp_path):
    fake = node("act_quant/FakeQuantWithMinMaxVars", "FakeQuantWithMinMaxVars", ("mul",))
    assert "quantisation-aware training: convert it to .tflite" in refused(
        changed(tmp_path, {"act_quant": fake})
    )
    values = np.zeros((1, 1, 160, 3), np.float16)
    half = constant("logits/semantic/weights", values).replace(
        b"semantic/weights", b"semantic/weights"
    )
    nodes = golden_nodes(SMALL)
    nodes = {
        ("half" if name == "logits/semantic/weights" else name): whole
        for name, whole in nodes.items()
    }
    nodes["half"] = half
    assert "is float16, not float32" in refused(write_graph(SMALL, tmp_path, nodes))


def test_broken_weights_are_refused(tmp_path):
    nodes = golden_nodes(SMALL)
    name = "logits/semantic/biases"
    nodes = {("nan" if key == name else key): whole for key, whole in nodes.items()}
    nodes["nan"] = constant(name, np.array([0, np.nan, 0], np.float32))
    assert "holds NaN or infinity" in refused(write_graph(SMALL, tmp_path, nodes))


def test_what_a_graph_says_itself_is_not_asked(tmp_path):
    graph = write_graph(SMALL, tmp_path)
    stride = Training(output_stride=8)
    said = refused(graph, SettingsError, training=stride)
    assert "tells its output stride and rates itself" in said
    plain = import_model(graph, name="plain", labels=THREE)
    assert plain.output_stride == 16
    assert find_model("plain") == plain


def test_a_checkpoint_says_what_was_assumed(tmp_path):
    index = write_checkpoint("mobilenetv2_plain_convolutions", tmp_path)
    five = LabelMap.from_names("five", [str(n) for n in range(5)])
    said: list[str] = []
    spec = import_model(index, name="it", labels=five, say=said.append)
    assert spec.output_stride == 16
    assert dict(spec.options)["atrous_rates"] == (6, 12, 18)
    text = " ".join(said)
    assert "output stride 16 (--output-stride)" in text
    assert "atrous rates 6,12,18 (--atrous-rates)" in text
    assert "assumed: 513 (--image-size)" in text
    said.clear()
    told = Training(output_stride=8, atrous_rates=(4, 8, 12))
    spec = import_model(
        index, name="it", labels=five, image_size=257, training=told, say=said.append
    )
    assert said == []
    assert (spec.output_stride, spec.preprocessing.size) == (8, 257)
    assert dict(spec.options)["atrous_rates"] == (4, 8, 12)


def test_a_checkpoint_by_any_of_its_names(tmp_path):
    index = write_checkpoint(SMALL, tmp_path)
    for name in ("", ".index", ".data-00000-of-00001"):
        spec = import_model(tmp_path / f"model.ckpt-1234{name}", name="it", labels=THREE)
        assert spec.description == f"imported from {index.name}"


def test_rates_that_do_not_fit_the_checkpoint(tmp_path):
    index = write_checkpoint(SMALL, tmp_path)
    rates = Training(atrous_rates=(6, 12, 18))
    assert "has no atrous branches" in refused(index, SettingsError, training=rates)
    grid = Training(multi_grid=(1, 2, 4))
    assert "--multi-grid has three numbers" in refused(index, SettingsError, training=grid)


def test_checkpoints_that_lost_something(tmp_path):
    index = write_checkpoint(SMALL, tmp_path)
    data = index.with_suffix(".data-00000-of-00001")
    content = data.read_bytes()
    data.write_bytes(content[:-100_000])
    assert "breaks off before variable" in refused(index)
    data.unlink()
    assert "is missing beside it" in refused(index)
    data.write_bytes(content)
    table = index.read_bytes()
    index.write_bytes(table[:-60])
    assert "is not the index of a TensorFlow checkpoint, or breaks off" in refused(index)
    index.write_bytes(table[:500] + bytes(500) + table[1000:])
    assert "is damaged" in refused(index)
    index.unlink()
    assert "its .index file is missing beside it" in refused(data)
