"""TFLite and TFJS files -> networks, by structure; and the TensorFlow rules the network follows."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.models.networks.same_convolution import SameConv2d
from maskmill.pipeline.models.networks.tf_mobilenetv2 import build, resize_bilinear
from maskmill.pipeline.models.weights.tf_import import graph_to_network
from maskmill.pipeline.models.weights.tfjs_file import read_tfjs
from maskmill.pipeline.models.weights.tflite_file import read_tflite
from maskmill.schemas.errors import ModelError
from tests.pipeline.models.tfjs_writer import write_tfjs


def small(decoder: bool = False):
    torch.manual_seed(1)
    stride = 16 if decoder else 8
    return build(5, width=0.5, output_stride=stride, decoder=decoder).eval()


@pytest.mark.parametrize("decoder", [False, True])
def test_a_tfjs_file_becomes_the_network_it_was_written_from(tmp_path, decoder):
    network = small(decoder)
    found = graph_to_network(read_tfjs(write_tfjs(network, tmp_path)))
    assert found.layout == network.layout
    pixels = torch.randn(2, 3, 65, 80)
    with torch.inference_mode():
        assert torch.allclose(found(pixels), network(pixels), atol=1e-5)


def test_quantised_tfjs_weights_are_unpacked(tmp_path):
    """uint8 with scale and min, as the converter's --quantize_uint8 writes."""
    path = write_tfjs(small(), tmp_path)
    document = json.loads(path.read_text())
    group = document["weightsManifest"][0]
    content = b"".join((tmp_path / name).read_bytes() for name in group["paths"])
    packed, offset = b"", 0
    for entry in group["weights"]:
        count = int(np.prod(entry["shape"]))
        values = np.frombuffer(content, entry["dtype"], count, offset)
        offset += values.nbytes
        if entry["dtype"] == "float32":
            low, step = float(values.min()), max(float(np.ptp(values)) / 255, 1e-9)
            entry["quantization"] = {"dtype": "uint8", "scale": step, "min": low}
            values = np.round((values - low) / step).astype(np.uint8)
        packed += values.tobytes()
    group["paths"] = ["one"]
    (tmp_path / "one").write_bytes(packed)
    path.write_text(json.dumps(document))
    state, wanted = graph_to_network(read_tfjs(path)).state_dict(), small().state_dict()
    for name, values in wanted.items():
        assert torch.allclose(state[name], values, atol=float(values.max() - values.min()) / 255)


def broken(document: dict, how: str) -> dict:
    nodes = document["modelTopology"]["node"]
    if how == "foreign operator":
        nodes.append({"op": "LSTMCell", "name": "zz", "input": ["logits/Conv"]})
    elif how == "cycle":
        next(n for n in nodes if n["name"] == "Conv/Conv")["input"][0] = "logits/Conv"
    elif how == "block missing":
        kept = [n for n in nodes if not n["name"].startswith("expanded_conv_16")]
        next(n for n in kept if n["name"] == "aspp0/Conv")["input"][0] = "expanded_conv_15/add"
        next(n for n in kept if n["name"] == "pool")["input"][0] = "expanded_conv_15/add"
        document["modelTopology"]["node"] = kept
    elif how == "no topology":
        del document["modelTopology"]
    elif how == "strange shape":
        document["weightsManifest"][0]["weights"][1]["shape"] = [-3, 7]
    elif how == "shard missing":
        document["weightsManifest"][0]["paths"].append("group1-shard9of9")
    elif how == "shard elsewhere":
        document["weightsManifest"][0]["paths"][0] = "../secret"
    return document


def test_a_deep_tfjs_file_is_explained(tmp_path):
    (tmp_path / "model.json").write_text("[" * 100_000)
    with pytest.raises(ModelError, match="not a TensorFlow"):
        read_tfjs(tmp_path / "model.json")


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("foreign operator", "LSTMCell"),
        ("cycle", "not a TensorFlow.js graph model"),
        ("block missing", "not a MobileNetV2 backbone"),
        ("no topology", "modelTopology"),
        ("strange shape", "not a TensorFlow.js graph model"),
        ("shard missing", "shard9of9' is missing"),
        ("shard elsewhere", "points outside"),
    ],
)
def test_broken_tfjs_files_are_explained(tmp_path, how, said):
    (tmp_path / "model").mkdir()
    (tmp_path / "secret").write_bytes(b"\0" * 100)
    path = write_tfjs(small(), tmp_path / "model")
    path.write_text(json.dumps(broken(json.loads(path.read_text()), how)))
    with pytest.raises(ModelError, match=said):
        graph_to_network(read_tfjs(path))


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_a_damaged_tflite_file_is_a_model_error_or_still_a_graph(shared, tmp_path_factory, data):
    original = (shared / "weights" / "deeplabv3_mnv2_ade20k_int8.tflite").read_bytes()
    content = bytearray(original[: data.draw(st.integers(0, len(original)), label="length")])
    if len(content) > 8:
        for _ in range(data.draw(st.integers(0, 8), label="flips")):
            position = data.draw(st.integers(0, min(len(content), 4096) - 1))
            content[position] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("tflite") / "damaged.tflite"
    path.write_bytes(bytes(content))
    try:
        graph_to_network(read_tflite(path))
    except ModelError as error:
        assert str(error)


def test_int8_weights_are_dequantised_per_channel(shared):
    graph = read_tflite(shared / "weights" / "deeplabv3_mnv2_ade20k_int8.tflite")
    assert (graph.alignment, graph.mean, graph.std) == ("legacy", 127.0, 127.5)
    assert len(graph.convolutions) == 60
    for convolution in graph.convolutions:
        assert convolution.rounding is not None
        flat = np.abs(convolution.weight.reshape(len(convolution.weight), -1))
        steps = flat.max(1) / 127  # symmetric: the largest weight of a channel is about 127 steps
        scaled = flat / np.maximum(steps, 1e-30)[:, None]
        assert np.median(np.abs(scaled - np.round(scaled))) < 0.01


def same_convolution(pixels: np.ndarray, weight: np.ndarray, stride: int, dilation: int):
    """TensorFlow's written rule of SAME padding, one output at a time, one channel."""
    size = weight.shape[0]
    reach = (size - 1) * dilation + 1
    out = [-(-side // stride) for side in pixels.shape]
    result = np.zeros(out)
    before = [
        max((count - 1) * stride + reach - side, 0) // 2
        for count, side in zip(out, pixels.shape, strict=True)
    ]
    for y, x in np.ndindex(*out):
        for dy, dx in np.ndindex(size, size):
            row = y * stride + dy * dilation - before[0]
            column = x * stride + dx * dilation - before[1]
            if 0 <= row < pixels.shape[0] and 0 <= column < pixels.shape[1]:
                result[y, x] += pixels[row, column] * weight[dy, dx]
    return result


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 12), st.integers(1, 12), st.sampled_from([(2, 1), (1, 1), (1, 2), (1, 4)]))
def test_padding_is_tensorflows_same(height, width, kind):
    stride, dilation = kind
    rng = np.random.default_rng(height * 13 + width)
    pixels, weight = rng.normal(size=(height, width)), rng.normal(size=(3, 3))
    layer = SameConv2d(1, 1, 3, activation="none", stride=stride, dilation=dilation)
    with torch.no_grad():
        layer.weight[:] = torch.from_numpy(weight)
        layer.bias[:] = 0
        found = layer(torch.from_numpy(pixels).float()[None, None])[0, 0].numpy()
    assert np.allclose(found, same_convolution(pixels, weight, stride, dilation), atol=1e-5)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 30), st.integers(1, 30))
def test_legacy_resize_reads_i_times_h_over_size(h, w, height, width):
    grid = np.random.default_rng(h * w).normal(size=(h, w)).astype(np.float32)
    found = resize_bilinear(torch.from_numpy(grid)[None, None], (height, width), "legacy")
    for y, x in np.ndindex(height, width):
        row, column = y * h / height, x * w / width
        top, left = int(row), int(column)
        bottom, right = min(top + 1, h - 1), min(left + 1, w - 1)
        upper = grid[top, left] + (grid[top, right] - grid[top, left]) * (column - left)
        lower = grid[bottom, left] + (grid[bottom, right] - grid[bottom, left]) * (column - left)
        expected = upper + (lower - upper) * (row - top)
        assert found[0, 0, y, x] == pytest.approx(expected, abs=1e-4)


def test_pooled_share_of_the_projection_equals_the_concatenation():
    aspp = small().aspp
    features = torch.randn(2, 160, 9, 7)
    with torch.inference_mode():
        pooled = aspp.pooling(features.mean((2, 3), keepdim=True)).expand(-1, -1, 9, 7)
        joined = torch.cat((pooled, aspp.branch(features)), dim=1)
        expected = F.relu(F.conv2d(joined, aspp.projection.weight, aspp.projection.bias))
        assert torch.allclose(aspp(features), expected, atol=1e-5)


def test_dilations_and_strides_are_the_published_ones():
    blocks = [block.depthwise for block in small().backbone.blocks]
    assert [b.dilation[0] for b in blocks] == [1] * 7 + [2] * 7 + [4] * 3
    assert [b.stride[0] for b in blocks] == [1, 2, 1, 2] + [1] * 13
    blocks = [block.depthwise for block in small(decoder=True).backbone.blocks]
    assert [b.dilation[0] for b in blocks] == [1] * 14 + [2] * 3
    assert [b.stride[0] for b in blocks] == [1, 2, 1, 2, 1, 1, 2] + [1] * 10


@pytest.mark.parametrize(("height", "width"), [(65, 65), (64, 64), (63, 97), (1, 1)])
def test_exported_padding_equals_the_eager_one(monkeypatch, height, width):
    network, pixels = small(), torch.randn(1, 3, height, width)
    with torch.inference_mode():
        eager = network(pixels)
        monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
        assert torch.allclose(network(pixels), eager, atol=1e-5)
    assert eager.shape[2:] == (-(-height // 8), -(-width // 8))


def test_rounded_layers_answer_on_their_grid():
    layer = SameConv2d(3, 4, activation="relu6")
    layer.keep_on_grid()
    layer.load_state_dict(
        {**layer.state_dict(), "step": torch.tensor(0.5), "zero": torch.tensor(-128)}
    )
    with torch.inference_mode():
        values = layer(torch.randn(1, 3, 8, 8) * 9)
    assert torch.equal(values, (values / 0.5).round() * 0.5)
    assert values.min() >= 0
    assert values.max() <= 6
