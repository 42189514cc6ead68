"""TensorFlow DeepLab's frozen graphs and checkpoints -> one of our networks, checked and filled."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from maskmill.pipeline.models.networks import tf_resnet
from maskmill.pipeline.models.networks.same_convolution import SameConv2d
from maskmill.pipeline.models.networks.tf_deeplab import MOBILENET, TfDeepLab, TfDeepLabLayout
from maskmill.pipeline.models.networks.tf_mobilenetv2 import MobileNetV2Layout
from maskmill.pipeline.models.weights.checkpoint_file import read_checkpoint
from maskmill.pipeline.models.weights.graphdef_file import read_graphdef
from maskmill.pipeline.models.weights.tf_graph_facts import (
    ConvolutionFacts,
    GraphFacts,
    graph_facts,
    graph_variables,
)
from maskmill.pipeline.models.weights.tf_layout import (
    assumed_layout,
    name_prefix,
    stated_layout,
    title,
    trained_layout,
)
from maskmill.pipeline.models.weights.tf_scopes import (
    HEAD_EPSILON,
    KINDS,
    Variables,
    encoder_epsilon,
    encoder_scope,
    folded,
    scope_of,
)
from maskmill.pipeline.models.weights.tf_wiring import network_sources
from maskmill.pipeline.models.weights.training_facts import Training
from maskmill.schemas.errors import ModelError, SettingsError

_MEAN_RGB = (123.15, 115.90, 103.06)  # feature_extractor.py's, for ResNet without beta
_UNIT = (127.5, 127.5, 127.5)
_UNIT_SCALE = (2 / 255, 1.0)
_MOBILENET_DECODER = 256


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class TfDeepLabFile:
    """A network read from a file, and what it wants to be shown.

    ``options`` build it (without its class count), as a MobileNetV2Layout where it is ``quick``
    and a TfDeepLabLayout else; ``state`` fills it. ``size`` is the longest side of its input, None
    where the file does not tell; ``square``: pictures are padded to a square of that size.
    """

    layout: TfDeepLabLayout
    quick: bool
    options: dict[str, Any]
    state: dict[str, Tensor]
    architecture: str
    size: int | None
    square: bool
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    notes: tuple[str, ...]


def read_deeplab_graph(path: Path, asked: Training) -> TfDeepLabFile:
    """The network of a frozen graph (.pb).

    Raises:
        ModelError: another file, a truncated one, or a network that is not read here.
        SettingsError: the user asked for what the graph itself says.
    """
    if asked != Training():
        raise SettingsError(
            f"{path} tells its output stride and rates itself: leave --output-stride, "
            "--atrous-rates and --multi-grid out"
        )
    graph = read_graphdef(path)
    prefix = name_prefix(path, graph.constants)
    variables, facts = graph_variables(graph, prefix), graph_facts(graph, prefix)
    layout = stated_layout(trained_layout(variables), facts)
    return _filled(variables, layout, facts, facts.notes)


def read_deeplab_checkpoint(index: Path, asked: Training) -> TfDeepLabFile:
    """The network of a training checkpoint, by its .index file.

    Raises:
        ModelError: as ``read_deeplab_graph``.
        SettingsError: rates that must be given.
    """
    checkpoint = read_checkpoint(index)
    name_prefix(index, checkpoint.entries)
    shapes = {name: entry.shape for name, entry in checkpoint.entries.items()}
    variables = Variables(index, shapes, checkpoint.read)
    layout, notes = assumed_layout(index, trained_layout(variables), asked)
    return _filled(variables, layout, None, notes)


def _filled(
    variables: Variables, layout: TfDeepLabLayout, facts: GraphFacts | None, notes: tuple[str, ...]
) -> TfDeepLabFile:
    with torch.device("meta"):
        network = _network(variables, layout)
    modules = _convolutions(network)
    scopes = {name: scope_of(name, layout.encoder) for name in modules}
    _check_leftovers(variables, set(scopes.values()))
    if facts is not None:
        _check_facts(variables, layout, facts, {scopes[n]: m for n, m in modules.items()})
        _check_wiring(variables.path, facts, network, scopes)
    state = {}
    for name, module in modules.items():
        epsilon = _epsilon(scopes[name], layout, facts)
        weight, bias = folded(variables, scopes[name], module, epsilon)
        state[f"{name}.weight"], state[f"{name}.bias"] = map(torch.from_numpy, (weight, bias))
    quick, options = _options(layout)
    crop = facts.crop_hw if facts is not None else None
    plain = layout.encoder in tf_resnet.VARIANTS and not layout.encoder.endswith("_beta")
    return TfDeepLabFile(
        layout=layout,
        quick=quick,
        options=options,
        state=state,
        architecture=title(layout),
        size=max(crop) if crop else None,
        square=crop is None or crop[0] == crop[1],
        mean=_MEAN_RGB if plain else _UNIT,
        std=(1.0, 1.0, 1.0) if plain else _UNIT,
        notes=notes + _crop_notes(crop),
    )


def _network(variables: Variables, layout: TfDeepLabLayout) -> nn.Module:
    try:
        return TfDeepLab(layout)
    except (ValueError, ZeroDivisionError) as error:
        raise ModelError(f"{variables.path} is not a DeepLab that is read here: {error}") from error


def _convolutions(network: nn.Module) -> dict[str, SameConv2d]:
    return {
        name: module for name, module in network.named_modules() if isinstance(module, SameConv2d)
    }


def _check_leftovers(variables: Variables, scopes: set[str]) -> None:
    """Trained variables that the network has no place for mean that it is another network."""
    for name in variables.shapes:
        scope, _, kind = name.rpartition("/")
        if kind in KINDS and scope.removesuffix("/BatchNorm") not in scopes:
            raise ModelError(
                f"{variables.path} has {name}, which no DeepLab that is read here has: its head "
                "was made with flags beyond ASPP and decoder (dense_prediction_cell_json, "
                "decoder_use_sum_merge, …) or the network was changed"
            )


def _check_facts(
    variables: Variables,
    layout: TfDeepLabLayout,
    facts: GraphFacts,
    modules: Mapping[str, SameConv2d],
) -> None:
    """Raise where a convolution of the graph does not do what ours does.

    Raises:
        ModelError: naming the first that differs.
    """
    for scope, module in modules.items():
        found = facts.convolutions.get(scope)
        wanted = _wanted(module, found)
        if found is None or found != wanted:
            raise ModelError(
                f"{variables.path}: {scope} is not what DeepLab has there: found {found}, "
                f"expected {wanted}; changed networks cannot be imported"
            )
    plain = layout.encoder in tf_resnet.VARIANTS and not layout.encoder.endswith("_beta")
    scaling = (facts.scale, facts.offset)
    near = all(
        a is not None and abs(a - b) < 1e-6 for a, b in zip(scaling, _UNIT_SCALE, strict=True)
    )
    if not plain and not near:
        raise ModelError(
            f"{variables.path} does not scale pixels to -1 … 1 as DeepLab does with "
            f"{encoder_scope(layout.encoder)} (factor and offset {scaling})"
        )


def _check_wiring(
    path: Path, facts: GraphFacts, network: nn.Module, scopes: Mapping[str, str]
) -> None:
    """Raise where other convolutions feed one of the graph's than feed ours.

    Raises:
        ModelError: naming the first that differs.
    """
    ours = {
        scopes[name]: frozenset(scopes[source] for source in sources)
        for name, sources in network_sources(network.eval()).items()
    }
    for scope, sources in facts.fed:
        if sources != ours[scope]:
            other = sorted(sources ^ ours[scope])
            raise ModelError(
                f"{path}: {scope} is not fed as in DeepLab (by {', '.join(other)} in one of the "
                "two only); changed networks cannot be imported"
            )


def _wanted(module: SameConv2d, found: ConvolutionFacts | None) -> ConvolutionFacts:
    """What the graph must say of a convolution; its padding tells only under a stride."""
    strided = module.stride[0] > 1 and module.kernel_size[0] > 1
    return ConvolutionFacts(
        stride=module.stride[0],
        dilation=module.dilation[0],
        explicit=module.explicit if strided or found is None else found.explicit,
        activation=module.activation,
        epsilon=found.epsilon if found is not None else None,
    )


def _epsilon(scope: str, layout: TfDeepLabLayout, facts: GraphFacts | None) -> float:
    found = facts.convolutions[scope].epsilon if facts is not None else None
    if found is not None:
        return found
    in_encoder = scope.startswith(encoder_scope(layout.encoder) + "/")
    return encoder_epsilon(layout.encoder) if in_encoder else HEAD_EPSILON


def _options(layout: TfDeepLabLayout) -> tuple[bool, dict[str, Any]]:
    """Whether the quicker network of MobileNetV2 files is the same, and the options of that one."""
    decoder = bool(layout.decoder_channels)
    quick = (
        layout.encoder == MOBILENET
        and bool(layout.aspp_channels)
        and layout.pooling
        and layout.pooling_window is None
        and not layout.atrous_rates
        and (not decoder or layout.decoder_channels == _MOBILENET_DECODER)
        and (not decoder or layout.separable_decoder)
    )
    kind = MobileNetV2Layout if quick else TfDeepLabLayout
    known = {field.name for field in fields(TfDeepLabLayout)} - {"num_classes"}
    names = [field.name for field in fields(kind) if field.name in known]
    options = {name: getattr(layout, name) for name in names}
    return quick, {**options, "decoder": decoder} if quick else options


def _crop_notes(crop: tuple[int, int] | None) -> tuple[str, ...]:
    if crop is None or crop[0] == crop[1]:
        return ()
    return (
        f"its input is {crop[1]}x{crop[0]} (width x height): pictures are scaled to a longest side "
        f"of {max(crop)} and not padded",
    )
