"""TensorFlow.js graph model (model.json and its shards) -> FrozenGraph.

Read without TensorFlow: the topology is JSON, the shards are the concatenated little-endian
values of ``weightsManifest`` in order. Batch norm appears as constants multiplied or added after
a convolution and is folded into it; dilation as SpaceToBatchND around a plain convolution.
"""

import json
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.models.networks.frozen_graph import (
    Activation,
    Flow,
    FrozenConvolution,
    FrozenGraph,
    alignment_name,
    join_flows,
)
from maskmill.schemas.errors import ModelError

_DTYPES: MappingProxyType[str, np.dtype[Any]] = MappingProxyType(
    {
        "float32": np.dtype("<f4"),
        "int32": np.dtype("<i4"),
        "float16": np.dtype("<f2"),
        "uint16": np.dtype("<u2"),
        "uint8": np.dtype("u1"),
        "bool": np.dtype("u1"),
    }
)
_ACTIVATIONS: MappingProxyType[str, Activation] = MappingProxyType(
    {"Relu": "relu", "Relu6": "relu6"}
)
_CONVOLUTIONS = frozenset({"Conv2D", "DepthwiseConv2dNative"})
_ADDING = frozenset({"Add", "AddV2", "AddN", "BiasAdd"})
_JOINING = frozenset(
    {
        "ConcatV2",
        "Identity",
        "BatchToSpaceND",
        "ResizeBilinear",
        "ArgMax",
        "Softmax",
        "Slice",
        "Squeeze",
        "ExpandDims",
        "Pad",
    }
)
_POOLING = frozenset({"AvgPool", "Mean"})
_MAX_BYTES = 1 << 30


def read_tfjs(path: Path) -> FrozenGraph:
    """The convolutions of a TFJS graph model; ``path`` is its model.json, shards lie beside it.

    Raises:
        ModelError: not such a file, a shard missing or of the wrong size, or foreign operators.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        nodes = {node["name"]: node for node in document["modelTopology"]["node"]}
        constants = _read_constants(path, document["weightsManifest"])
        return _Reader(path, nodes, constants).read()
    except (KeyError, TypeError, ValueError, RecursionError, CycleError) as error:
        raise ModelError(f"{path} is not a TensorFlow.js graph model: {error!r}") from error


class _Reader:
    """Walks the nodes once, folding constants into the convolution they follow."""

    def __init__(
        self, path: Path, nodes: dict[str, Any], constants: dict[str, npt.NDArray[Any]]
    ) -> None:
        self.path, self.nodes, self.constants = path, nodes, constants
        self.flows: dict[str, Flow] = {}
        self.convolutions: list[FrozenConvolution] = []
        self.alignment = "align_corners"

    def read(self) -> FrozenGraph:
        sources = {name: _inputs(node) for name, node in self.nodes.items()}
        for name in TopologicalSorter(sources).static_order():
            node = self.nodes.get(name)
            if node is not None and name not in self.constants:
                self.flows[name] = self._follow(node, _inputs(node))
        return FrozenGraph(tuple(self.convolutions), self.alignment)

    def _follow(self, node: dict[str, Any], inputs: list[str]) -> Flow:
        operator = node["op"]
        flow = join_flows([self.flows[name] for name in inputs if name in self.flows])
        if operator in _CONVOLUTIONS:
            return self._convolution(node, inputs, flow)
        if flow.source < 0:
            return flow  # the graph's own preprocessing, before the first convolution
        if operator == "ResizeBilinear":
            self.alignment = alignment_name(
                align_corners=_flag(node, "align_corners"),
                half_pixel=_flag(node, "half_pixel_centers"),
            )
        if operator in _ADDING or operator == "Mul" or operator in _ACTIVATIONS:
            self._fold(operator, flow.source, [name for name in inputs if name in self.constants])
            return flow
        if operator == "SpaceToBatchND":
            return replace(flow, dilation=int(self.constants[inputs[1]][0]))
        if operator in _POOLING:
            return replace(flow, pooled=True)
        if operator in _JOINING:
            return replace(flow, dilation=1) if operator == "BatchToSpaceND" else flow
        if operator == "Shape":
            return Flow()
        raise ModelError(f"{self.path}: operator {operator} is not part of a MobileNetV2 DeepLab")

    def _convolution(self, node: dict[str, Any], inputs: list[str], flow: Flow) -> Flow:
        stored = self.constants[inputs[1]]  # (kh, kw, in, out), depthwise (kh, kw, channels, 1)
        depthwise = node["op"] != "Conv2D"
        weight = stored.transpose(2, 3, 0, 1) if depthwise else stored.transpose(3, 2, 0, 1)
        declared = int(node["attr"].get("dilations", {"list": {"i": [1, 1]}})["list"]["i"][1])
        self.convolutions.append(
            FrozenConvolution(
                name=node["name"],
                weight=np.ascontiguousarray(weight, dtype=np.float32),
                bias=np.zeros(weight.shape[0], np.float32),
                groups=weight.shape[0] if depthwise else 1,
                stride=int(node["attr"]["strides"]["list"]["i"][1]),
                dilation=declared * flow.dilation,
                activation="none",
                source=flow.source,
                pooled=flow.pooled,
            )
        )
        return Flow(len(self.convolutions) - 1)

    def _fold(self, operator: str, position: int, constants: list[str]) -> None:
        """Move a scale, an offset or an activation into the convolution it follows."""
        last = self.convolutions[position]
        if operator in _ACTIVATIONS:
            self.convolutions[position] = replace(last, activation=_ACTIVATIONS[operator])
            return
        for name in constants:
            if last.activation != "none":
                raise ModelError(f"{self.path}: {operator} with a constant after {last.activation}")
            value = self.constants[name].astype(np.float32)
            last = (
                _scaled(last, value) if operator == "Mul" else replace(last, bias=last.bias + value)
            )
        self.convolutions[position] = last


def _scaled(convolution: FrozenConvolution, factor: npt.NDArray[np.float32]) -> FrozenConvolution:
    return replace(
        convolution,
        weight=convolution.weight * factor.reshape(-1, 1, 1, 1),
        bias=convolution.bias * factor.reshape(-1),
    )


def _inputs(node: dict[str, Any]) -> list[str]:
    """Names of the nodes that feed this one, without output numbers; control inputs left out."""
    return [name.split(":")[0] for name in node.get("input", ()) if not name.startswith("^")]


def _flag(node: dict[str, Any], name: str) -> bool:
    return bool(node.get("attr", {}).get(name, {}).get("b", False))


def _read_constants(path: Path, manifest: list[dict[str, Any]]) -> dict[str, npt.NDArray[Any]]:
    constants: dict[str, npt.NDArray[Any]] = {}
    for group in manifest:
        content = b"".join(_read_shard(path, name) for name in group["paths"])
        offset = 0
        for entry in group["weights"]:
            packing = entry.get("quantization", {})
            dtype = _DTYPES[packing.get("dtype", entry["dtype"])]
            shape = tuple(int(size) for size in entry["shape"])
            count = int(np.prod(shape, dtype=np.int64))
            stored = np.frombuffer(content, dtype, count, offset).reshape(shape)
            constants[entry["name"]] = _unpacked(stored, packing, _DTYPES[entry["dtype"]])
            offset += count * dtype.itemsize
    return constants


def _unpacked(
    stored: npt.NDArray[Any], packing: dict[str, Any], dtype: np.dtype[Any]
) -> npt.NDArray[Any]:
    """Values of a weight stored smaller: real = scale * stored + min; float16 has neither."""
    if "scale" in packing:
        stored = stored.astype(np.float64) * packing["scale"] + packing["min"]
    values: npt.NDArray[Any] = stored.astype(dtype)
    return values


def _read_shard(path: Path, name: str) -> bytes:
    shard = path.parent / name
    if shard.resolve().parent != path.parent.resolve():
        raise ModelError(f"{path}: shard {name!r} points outside the model's folder")
    if not shard.is_file():
        raise ModelError(f"{path}: shard {name!r} is missing beside it")
    if shard.stat().st_size > _MAX_BYTES:
        raise ModelError(f"{path}: shard {name!r} is larger than {_MAX_BYTES} bytes")
    return shard.read_bytes()
