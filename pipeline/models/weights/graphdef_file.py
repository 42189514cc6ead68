"""TensorFlow's frozen graph (GraphDef, .pb) -> its nodes and constants, without TensorFlow."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.models.weights.protobuf_wire import (
    WireError,
    fields,
    inner,
    integers,
    real,
    text,
)
from maskmill.pipeline.models.weights.tf_tensors import read_tensor
from maskmill.schemas.errors import ModelError

_PASSING = frozenset({"Identity", "StopGradient", "ReadVariableOp", "Squeeze", "ExpandDims"})
Attribute = int | float | bytes | list[int]


@dataclass(frozen=True, slots=True, eq=False)
class GraphNode:
    """One node: its operation, the names of the nodes it reads (output numbers taken off), and
    attributes that are numbers, byte strings or lists of integers.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    attributes: Mapping[str, Attribute] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class GraphDef:
    """Nodes by name in file order, and the values of those that are constants."""

    path: Path
    nodes: Mapping[str, GraphNode]
    constants: Mapping[str, npt.NDArray[Any]]

    def origin(self, name: str) -> str:
        """The node whose values arrive at ``name``: Identity and the like are passed through."""
        seen = 0
        while (node := self.nodes.get(name)) is not None and node.op in _PASSING and node.inputs:
            name, seen = node.inputs[0], seen + 1
            if seen > len(self.nodes):
                raise ModelError(f"{self.path}: node {name} feeds itself")
        return name

    def constant(self, name: str) -> npt.NDArray[Any] | None:
        """The constant that arrives at a node, if it is one."""
        return self.constants.get(self.origin(name))


def read_graphdef(path: Path) -> GraphDef:
    """All of a frozen graph.

    Raises:
        ModelError: a SavedModel, a text graph, a truncated file or another one.
    """
    content = memoryview(path.read_bytes())
    nodes: dict[str, GraphNode] = {}
    constants: dict[str, npt.NDArray[Any]] = {}
    try:
        for number, value in fields(content):
            if number == 1 and isinstance(value, int):
                raise _saved_model(path)
            if number == 1:
                node, tensor = _node(inner(value))
                nodes[node.name] = node
                if tensor is not None:
                    constants[node.name] = tensor
    except WireError as error:
        raise _unreadable(path, content, nodes, error) from error
    if not nodes or not any(node.op for node in nodes.values()):
        raise _unreadable(path, content, nodes, None)
    return GraphDef(path, nodes, constants)


def _saved_model(path: Path) -> ModelError:
    return ModelError(
        f"{path} is a SavedModel, which keeps its weights elsewhere: give the "
        "frozen_inference_graph.pb that DeepLab's export_model.py writes, or the training "
        "checkpoint (model.ckpt-N.index)"
    )


def _unreadable(
    path: Path, content: memoryview, nodes: Mapping[str, GraphNode], error: WireError | None
) -> ModelError:
    if nodes and error is not None:
        return ModelError(
            f"{path} is a TensorFlow graph that breaks off or is damaged after {len(nodes)} nodes "
            f"({error}): copy or download it again"
        )
    hint = ""
    if bytes(content[:200]).lstrip().startswith(b"node"):
        hint = " (it is a graph in text form: export it again without as_text)"
    return ModelError(
        f"{path} is not a frozen TensorFlow graph{hint}; of TensorFlow, `models import` takes "
        "DeepLab's frozen_inference_graph.pb, a checkpoint's model.ckpt-N.index, .tflite files "
        "and TensorFlow.js's model.json"
    )


def _node(message: memoryview) -> tuple[GraphNode, npt.NDArray[Any] | None]:
    name, operation, inputs, tensor = "", "", [], None
    attributes: dict[str, Attribute] = {}
    for number, value in fields(message):
        if number == 1:
            name = text(value)
        elif number == 2:
            operation = text(value)
        elif number == 3:
            inputs.append(text(value))
        elif number == 5:
            key, held = _entry(inner(value))
            if isinstance(held, np.ndarray):
                tensor = held
            elif held is not None:
                attributes[key] = held
    reads = tuple(source.split(":")[0] for source in inputs if not source.startswith("^"))
    return GraphNode(name, operation, reads, attributes), tensor


def _entry(message: memoryview) -> tuple[str, Attribute | npt.NDArray[Any] | None]:
    """One entry of the map of attributes."""
    key, held = "", None
    for number, value in fields(message):
        if number == 1:
            key = text(value)
        elif number == 2:
            held = _attribute(inner(value))
    return key, held


def _attribute(message: memoryview) -> Attribute | npt.NDArray[Any] | None:
    """An AttrValue: a list of integers, a string, a number or a tensor; None for other kinds."""
    for number, value in fields(message):
        if number == 1:
            return _integer_list(inner(value))
        if number == 2:
            return bytes(inner(value))
        if number in (3, 5):
            return integers(value)[0]
        if number == 4:
            return real(value)
        if number == 8:
            return read_tensor(inner(value))
    return None


def _integer_list(message: memoryview) -> list[int]:
    found: list[int] = []
    for number, value in fields(message):
        found += integers(value) if number == 3 else []
    return found
