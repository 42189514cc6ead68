"""What a frozen DeepLab graph tells beside its weights: strides, rates, paddings, crop, scaling."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from maskmill.pipeline.models.networks.frozen_graph import Activation
from maskmill.pipeline.models.weights.graphdef_file import GraphDef, GraphNode
from maskmill.pipeline.models.weights.tf_scopes import Variables
from maskmill.pipeline.models.weights.tf_wiring import graph_sources
from maskmill.schemas.errors import ModelError

_CONVOLUTIONS = frozenset({"Conv2D", "DepthwiseConv2dNative"})
_ACTIVATIONS: Mapping[str, Activation] = {"Relu": "relu", "Relu6": "relu6"}
_WEIGHTS = ("/weights", "/depthwise_weights")
_STEPS_BEFORE = frozenset({"Mul", "Sub", "RealDiv", "Identity", "Cast"})


@dataclass(frozen=True, slots=True)
class ConvolutionFacts:
    """One convolution of the graph; ``epsilon`` is that of its batch norm, None without one."""

    stride: int
    dilation: int
    explicit: bool
    activation: Activation = "none"
    epsilon: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class GraphFacts:
    """Of all convolutions, by the scope of their variables; and of the graph as a whole.

    ``crop_hw`` is the size the graph pads pictures to, ``window`` and ``step`` are those of image
    pooling (None: the whole map). ``scale`` and ``offset``: the network's input is
    scale * pixel - offset, where the graph says so in the usual way. ``fed`` is which scopes feed
    each convolution, as often as it is used.
    """

    convolutions: Mapping[str, ConvolutionFacts]
    crop_hw: tuple[int, int] | None = None
    window: tuple[int, int] | None = None
    step: tuple[int, int] = (1, 1)
    scale: float | None = None
    offset: float | None = None
    notes: tuple[str, ...] = ()
    fed: Sequence[tuple[str, frozenset[str]]] = ()


def graph_variables(graph: GraphDef, prefix: str) -> Variables:
    """The constants of a graph, which variables have become; ``prefix`` taken off their names."""
    held = {name.removeprefix(prefix): values for name, values in graph.constants.items()}
    return Variables(graph.path, {name: v.shape for name, v in held.items()}, held.__getitem__)


def graph_facts(graph: GraphDef, prefix: str) -> GraphFacts:
    """What the graph says of its convolutions and its input.

    Raises:
        ModelError: quantisation-aware training, another resize rule, or convolutions that take
            their weights from elsewhere than a variable.
    """
    _check_operations(graph)
    found: dict[str, ConvolutionFacts] = {}
    scopes: dict[str, str] = {}
    repeated, first = False, None
    for node in graph.nodes.values():
        if node.op in _CONVOLUTIONS:
            first = first or node
            scope, facts = _convolution(graph, node, prefix)
            repeated |= scope in found
            scopes[node.name] = scope
            if found.setdefault(scope, facts) != facts:
                raise ModelError(f"{graph.path} uses the weights {scope} in two different ways")
    if first is None:
        raise ModelError(f"{graph.path} has no convolutions")
    found = {scope: _completed(graph, prefix, scope, facts) for scope, facts in found.items()}
    window, step = _pooling(graph)
    scale, offset = _input_scaling(graph, first)
    notes = _notes(graph, first, repeated=repeated)
    fed = graph_sources(graph, scopes)
    return GraphFacts(found, _crop(graph), window, step, scale, offset, notes, fed)


def _check_operations(graph: GraphDef) -> None:
    operations = {node.op for node in graph.nodes.values()}
    if any(operation.startswith(("FakeQuant", "Quantized")) for operation in operations):
        raise ModelError(
            f"{graph.path} comes from quantisation-aware training: convert it to .tflite with "
            "DeepLab's convert_to_tflite.py and import that"
        )
    for node in graph.nodes.values():
        if node.op == "ResizeBilinear" and not node.attributes.get("align_corners"):
            raise ModelError(
                f"{graph.path}: {node.name} resizes without align_corners, which DeepLab does not"
            )


def _convolution(graph: GraphDef, node: GraphNode, prefix: str) -> tuple[str, ConvolutionFacts]:
    weights = graph.origin(node.inputs[1]) if len(node.inputs) > 1 else ""
    ending = next((end for end in _WEIGHTS if weights.endswith(end)), None)
    if ending is None or weights not in graph.constants:
        raise ModelError(
            f"{graph.path}: the weights of {node.name} are no constant of the kind DeepLab has; "
            "import the file as its export_model.py writes it"
        )
    strides = _sizes(node, "strides")
    dilation = _sizes(node, "dilations")[1]
    source = graph.nodes.get(graph.origin(node.inputs[0]))
    padding = node.attributes.get("padding")
    if source is not None and source.op == "SpaceToBatchND":
        block = graph.constant(source.inputs[1])
        dilation *= int(block[0]) if block is not None else 1
    if node.attributes.get("data_format", b"NHWC") != b"NHWC" or strides[1] != strides[2]:
        raise ModelError(f"{graph.path}: {node.name} has another layout than DeepLab's")
    scope = weights.removeprefix(prefix).removesuffix(ending)
    return scope, ConvolutionFacts(strides[1], dilation, padding == b"VALID")


def _sizes(node: GraphNode, name: str) -> list[int]:
    held = node.attributes.get(name)
    return held if isinstance(held, list) and len(held) == 4 else [1, 1, 1, 1]


def _completed(
    graph: GraphDef, prefix: str, scope: str, facts: ConvolutionFacts
) -> ConvolutionFacts:
    """The facts with what the nodes of the same scope say: activation and batch norm."""
    activation: Activation = "none"
    for operation, meant in _ACTIVATIONS.items():
        node = graph.nodes.get(f"{prefix}{scope}/{operation}")
        activation = meant if node is not None and node.op == operation else activation
    return ConvolutionFacts(
        facts.stride, facts.dilation, facts.explicit, activation, _epsilon(graph, prefix, scope)
    )


def _epsilon(graph: GraphDef, prefix: str, scope: str) -> float | None:
    for version in ("", "V2", "V3"):
        node = graph.nodes.get(f"{prefix}{scope}/BatchNorm/FusedBatchNorm{version}")
        held = None if node is None else node.attributes.get("epsilon")
        if isinstance(held, float):
            return held
    unfused = graph.constants.get(f"{prefix}{scope}/BatchNorm/batchnorm/add/y")
    return None if unfused is None else float(unfused)


def _crop(graph: GraphDef) -> tuple[int, int] | None:
    """(height, width) the graph pads to: the constants of max(crop - size, 0), in that order."""
    sizes = []
    for node in graph.nodes.values():
        if node.op != "Maximum" or len(node.inputs) != 2:
            continue
        difference, least = graph.nodes.get(node.inputs[0]), graph.constant(node.inputs[1])
        if least is None or least.shape != () or least != 0:
            continue
        if difference is not None and difference.op == "Sub":
            size = graph.constant(difference.inputs[0])
            if size is not None and size.shape == () and size.dtype.kind == "i":
                sizes.append(int(size))
    return (sizes[0], sizes[1]) if len(sizes) == 2 else None


def _pooling(graph: GraphDef) -> tuple[tuple[int, int] | None, tuple[int, int]]:
    pools = [node for node in graph.nodes.values() if node.op == "AvgPool"]
    if len(pools) != 1:
        return None, (1, 1)
    size, step = _sizes(pools[0], "ksize"), _sizes(pools[0], "strides")
    return (size[1], size[2]), (step[1], step[2])


def _input_scaling(graph: GraphDef, first: GraphNode) -> tuple[float | None, float | None]:
    """The factor and the difference between the pixels and the first convolution."""
    scale, offset, name = None, None, graph.origin(first.inputs[0])
    while (node := graph.nodes.get(name)) is not None and node.op in (*_STEPS_BEFORE, "Pad"):
        constants = [graph.constant(source) for source in node.inputs]
        single = [value for value in constants if value is not None and value.size == 1]
        if node.op == "Sub" and single and offset is None:
            offset = float(single[0].reshape(-1)[0])
        if node.op == "Mul" and single and scale is None:
            scale = float(single[0].reshape(-1)[0])
        varying = [s for s, v in zip(node.inputs, constants, strict=True) if v is None]
        if not varying or scale is not None:
            break
        name = graph.origin(varying[0])
    return scale, offset


def _notes(graph: GraphDef, first: GraphNode, *, repeated: bool) -> tuple[str, ...]:
    notes = []
    names = list(graph.nodes)
    before = names[: names.index(first.name)]
    if any(graph.nodes[name].op == "ResizeBilinear" for name in before):
        notes.append("the graph scales pictures by itself: here --image-size does")
    if repeated:
        notes.append("the graph looks at several scales: here --scales and --flip do")
    return tuple(notes)
