"""Writes a TfMobileNetV2DeepLab as a TensorFlow.js graph model, laid out as TensorFlow does."""

import base64
import json
from pathlib import Path

import numpy as np

from maskmill.pipeline.models.networks.same_convolution import SameConv2d
from maskmill.pipeline.models.networks.tf_mobilenetv2 import TfMobileNetV2DeepLab


class TfjsWriter:
    """Collects nodes and constants of one graph."""

    def __init__(self) -> None:
        self.nodes: list[dict] = []
        self.constants: dict[str, np.ndarray] = {}

    def node(self, op: str, name: str, inputs: list[str], **attr) -> str:
        self.nodes.append({"op": op, "name": name, "input": inputs, "attr": attr})
        return name

    def constant(self, name: str, values: np.ndarray) -> str:
        self.constants[name] = values
        return self.node("Const", name, [])

    def convolution(self, module: SameConv2d, name: str, source: str) -> str:
        """Batch norm as a scale (depthwise) or an offset; dilation as SpaceToBatchND."""
        weight = module.weight.detach().numpy()
        depthwise, dilation = module.groups > 1, module.dilation[0]
        if dilation > 1:
            block = self.constant(f"{name}/block", np.array([dilation, dilation], np.int32))
            source = self.node("SpaceToBatchND", f"{name}/split", [source, block])
        strides = {"list": {"i": ["1", *[str(module.stride[0])] * 2, "1"]}}
        padding = {"s": base64.b64encode(b"VALID" if dilation > 1 else b"SAME").decode()}
        last = self.node(
            "DepthwiseConv2dNative" if depthwise else "Conv2D",
            f"{name}/Conv",
            [source, self.constant(f"{name}/weights", self._stored(weight, depthwise))],
            strides=strides,
            padding=padding,
        )
        if dilation > 1:
            last = self.node("BatchToSpaceND", f"{name}/join", [last, f"{name}/block"])
        if depthwise:
            scale = self.constant(f"{name}/scale", np.full(len(weight), 0.5, np.float32))
            last = self.node("Mul", f"{name}/scaled", [last, scale])
        offset = self.constant(f"{name}/offset", module.bias.detach().numpy())
        last = self.node("Add", f"{name}/shifted", [last, offset])
        if module.activation == "none":
            return last
        return self.node(
            {"relu": "Relu", "relu6": "Relu6"}[module.activation], f"{name}/act", [last]
        )

    @staticmethod
    def _stored(weight: np.ndarray, depthwise: bool) -> np.ndarray:
        if depthwise:  # the scale of one half comes after
            return np.ascontiguousarray(weight.transpose(2, 3, 0, 1)) * 2
        return np.ascontiguousarray(weight.transpose(2, 3, 1, 0))

    def save(self, folder: Path, *, shards: int = 3) -> Path:
        content = b"".join(values.tobytes() for values in self.constants.values())
        step = -(-len(content) // shards)
        paths = [f"group1-shard{n + 1}of{shards}" for n in range(shards)]
        for number, path in enumerate(paths):
            (folder / path).write_bytes(content[number * step : (number + 1) * step])
        weights = [
            {"name": name, "shape": list(values.shape), "dtype": str(values.dtype)}
            for name, values in self.constants.items()
        ]
        document = {
            "modelTopology": {"node": self.nodes, "versions": {}},
            "weightsManifest": [{"paths": paths, "weights": weights}],
        }
        (folder / "model.json").write_text(json.dumps(document))
        return folder / "model.json"


def write_tfjs(network: TfMobileNetV2DeepLab, folder: Path) -> Path:
    """model.json of the network, with TensorFlow's preprocessing before and argmax after it."""
    writer = TfjsWriter()
    picture = writer.node("Placeholder", "ImageTensor", [])
    last = writer.node("Sub", "sub_7", [picture, writer.constant("mean", np.ones(3, np.float32))])
    last = writer.convolution(network.backbone.stem, "Conv", last)
    low_level = ""
    for number, block in enumerate(network.backbone.blocks):
        before, name = last, f"expanded_conv_{number}"
        if block.expand is not None:
            last = writer.convolution(block.expand, f"{name}/expand", last)
        filtered = writer.convolution(block.depthwise, f"{name}/depthwise", last)
        low_level = filtered if number == 2 else low_level
        last = writer.convolution(block.project, f"{name}/project", filtered)
        if block.residual:
            last = writer.node("AddV2", f"{name}/add", [before, last])
    last = _head(writer, network, last, low_level)
    size = writer.constant("size", np.array([65, 65], np.int32))
    last = writer.node("ResizeBilinear", "resize", [last, size], align_corners={"b": True})
    writer.node("ArgMax", "ArgMax", [last])
    writer.nodes.sort(key=lambda node: node["name"])  # a file need not be in order
    return writer.save(folder)


def _head(writer: TfjsWriter, network: TfMobileNetV2DeepLab, last: str, low_level: str) -> str:
    aspp = network.aspp
    pooled = writer.node("AvgPool", "pool", [last])
    branch = writer.convolution(aspp.branch, "aspp0", last)
    pooled = writer.convolution(aspp.pooling, "image_pooling", pooled)
    last = writer.node("ConcatV2", "concat", [pooled, branch])
    last = writer.convolution(aspp.projection, "concat_projection", last)
    if network.decoder is not None:
        reduced = writer.convolution(network.decoder.low_level, "feature_projection", low_level)
        last = writer.node("ConcatV2", "decoder_concat", [last, reduced])
        for number, pair in enumerate(network.decoder.refine):
            last = writer.convolution(pair.depthwise, f"refine{number}_depthwise", last)
            last = writer.convolution(pair.pointwise, f"refine{number}_pointwise", last)
    return writer.convolution(network.classifier, "logits", last)
