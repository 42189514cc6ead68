"""A spec and a weights file -> a network ready to answer, whoever trained it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from maskmill.pipeline.models.spec import ModelSpec, labels_of, load_attribute
from maskmill.pipeline.models.weights.foreign import adapt_checkpoint
from maskmill.pipeline.models.weights.foreign_layouts import LAYOUTS
from maskmill.pipeline.models.weights.foreign_state import foreign_layout, renamed_state
from maskmill.pipeline.models.weights.state import (
    classes_in_state,
    classifier_name,
    fill_network,
    load_state,
)
from maskmill.pipeline.views.preprocessing import IMAGENET_MEAN
from maskmill.schemas.errors import ModelError

UNTRAINED_SEED = 20


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """A network in eval mode, and the spec it really has.

    For another project's checkpoint that is the asked-for spec with the network of the checkpoint;
    ``notes`` are sentences for the user: what was left out, what had to be assumed.
    """

    spec: ModelSpec
    network: nn.Module
    notes: tuple[str, ...] = ()


def load_model(
    spec: ModelSpec, weights_path: Path | None, *, untrained: bool = False
) -> LoadedModel:
    """The model of a spec; its class count is the file's.

    Raises:
        WeightsRefused: a file that would run code.
        ModelError: no weights and not ``untrained``, or weights that do not fit.
    """
    if weights_path is not None:
        return _filled(spec, load_state(weights_path), str(weights_path))
    if not untrained:
        raise ModelError(
            f"model {spec.name} has no weights: give a file with --weights FILE "
            "(or --untrained, to try it with random weights)"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(UNTRAINED_SEED)
        return LoadedModel(spec, build_network(spec, len(labels_of(spec).classes)))


def load_network(
    spec: ModelSpec, weights_path: Path | None, *, untrained: bool = False
) -> nn.Module:
    """The network alone of :func:`load_model`, which see."""
    return load_model(spec, weights_path, untrained=untrained).network


def build_network(spec: ModelSpec, num_classes: int) -> nn.Module:
    """The spec's network with random weights, in eval mode."""
    builder = load_attribute(spec.builder)
    network: nn.Module = builder(num_classes, **dict(spec.options))
    return network.eval()


def num_classes_of(network: nn.Module) -> int:
    """Output channels of the last layer."""
    classifier: Any = network.get_submodule(classifier_name(network))
    return int(classifier.out_channels)


def _filled(spec: ModelSpec, state: dict[str, Tensor], where: str) -> LoadedModel:
    notes: tuple[str, ...] = ()
    if spec.layout:  # recognised before: its options are settled, only names are left to change
        if foreign_layout(state) != spec.layout:
            raise ModelError(f"{where} does not hold weights of {spec.architecture}")
        state, _ = renamed_state(
            spec.layout, state, where, sees_bgr=spec.sees_bgr, weight_std=spec.weight_std
        )
    outline = _outline(spec, 1 if spec.layout else len(labels_of(spec).classes))
    num_classes = classes_in_state(state, classifier_name(outline)) or num_classes_of(outline)
    if not spec.layout and _is_foreign(outline, state):
        asked = spec.output_stride if spec.stride_asked else None
        adapted = adapt_checkpoint(state, output_stride=asked, where=where)
        _check_family(spec, LAYOUTS[adapted.layout].title, where)
        spec, state, notes = adapted.spec(spec), adapted.state, adapted.notes
        num_classes = adapted.num_classes
    network = _to_be_filled(spec, num_classes)
    notes += fill_network(network, state, where)
    return LoadedModel(spec, network, notes)


def _outline(spec: ModelSpec, num_classes: int) -> nn.Module:
    """The spec's network without memory behind it."""
    with torch.device("meta"):
        return build_network(spec, num_classes)


def _to_be_filled(spec: ModelSpec, num_classes: int) -> nn.Module:
    """The spec's network without random weights, whose making costs seconds in large ones."""
    network = _outline(spec, num_classes)
    in_files = network.state_dict().keys()
    if all(name in in_files for name, _ in network.named_buffers()):
        return _with_memory(network)
    return build_network(spec, num_classes)  # it has values of its own that no file holds


def _with_memory(network: nn.Module) -> nn.Module:
    """Uninitialised memory behind an outline; ``to_empty`` would import some 500 modules for it."""
    for module in network.modules():
        for name, weights in list(module.named_parameters(recurse=False)):
            setattr(module, name, nn.Parameter(torch.empty(weights.shape, dtype=weights.dtype)))
        for name, values in list(module.named_buffers(recurse=False)):
            setattr(module, name, torch.empty(values.shape, dtype=values.dtype))
    return network


def _is_foreign(network: nn.Module, state: Mapping[str, Tensor]) -> bool:
    """Whether a file is another project's; one of torchvision's may be just what is wanted."""
    layout = foreign_layout(state)
    return layout is not None and not (layout == "torchvision" and _speaks(network, state))


def _speaks(network: nn.Module, state: Mapping[str, Tensor]) -> bool:
    """Whether most names of the file are the network's: then a misfit is said in its names."""
    known = network.state_dict()
    return 2 * sum(name in known for name in state) > len(state)


def _check_family(spec: ModelSpec, title: str, where: str) -> None:
    # Those projects normalise by ImageNet's mean; another model's input rule would spoil them.
    if spec.preprocessing.mean != IMAGENET_MEAN:
        raise ModelError(
            f"{where} holds weights of {title}, which {spec.name} cannot take: choose a model of "
            "that kind with --model"
        )
