"""Which convolutions feed which: of a network as it runs, and of a graph as it is written."""

from collections.abc import Callable, Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from maskmill.pipeline.models.networks.same_convolution import SameConv2d
from maskmill.pipeline.models.weights.graphdef_file import GraphDef
from maskmill.schemas.errors import ModelError

Sources = Mapping[str, frozenset[str]]

_NOTHING: frozenset[str] = frozenset()
_SIZES = frozenset({"Shape", "ShapeN", "Size", "Rank"})
"""Operations that look at a tensor's size, not at its values."""
_SIDE = 65


def network_sources(network: nn.Module) -> Sources:
    """Name of each SameConv2d -> names of those whose output reaches it with none between.

    The network is run once; on the device ``meta`` that costs no arithmetic and no memory.
    """
    found: dict[str, frozenset[str]] = {}
    device = next(network.parameters()).device
    with torch.no_grad(), _Following(network, found):
        network(torch.zeros(1, 3, _SIDE, _SIDE, device=device))
    return found


class _Following(TorchFunctionMode):
    """Notes on every tensor which convolutions it comes from, and on every convolution's input."""

    def __init__(self, network: nn.Module, found: dict[str, frozenset[str]]) -> None:
        super().__init__()
        self.origins: dict[int, frozenset[str]] = {}
        self.kept: list[Tensor] = []  # an id is a tensor's own only as long as it lives
        self.handles = [
            handle
            for name, module in network.named_modules()
            if isinstance(module, SameConv2d)
            for handle in self._watched(name, module, found)
        ]

    def _watched(self, name: str, module: nn.Module, found: dict[str, frozenset[str]]) -> list[Any]:
        def before(module: nn.Module, inputs: Any) -> None:
            found[name] = self._of(inputs)

        def after(module: nn.Module, inputs: Any, output: Tensor) -> None:
            self._note(output, frozenset({name}))

        return [module.register_forward_pre_hook(before), module.register_forward_hook(after)]

    def _of(self, values: Iterable[Any]) -> frozenset[str]:
        found = _NOTHING
        for value in values:
            if isinstance(value, Tensor):
                found |= self.origins.get(id(value), _NOTHING)
            elif isinstance(value, list | tuple):
                found |= self._of(value)
        return found

    def _note(self, value: Any, origin: frozenset[str]) -> None:
        if isinstance(value, Tensor):
            self.origins[id(value)] = origin
            self.kept.append(value)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """What torch calls for every operation."""
        result = func(*args, **(kwargs or {}))
        origin = self._of([*args, *(kwargs or {}).values()])
        for value in result if isinstance(result, list | tuple) else [result]:
            self._note(value, origin)
        return result

    def __exit__(self, *caught: object) -> None:
        for handle in self.handles:
            handle.remove()
        super().__exit__(*caught)  # type: ignore[no-untyped-call]


def graph_sources(graph: GraphDef, scopes: Mapping[str, str]) -> list[tuple[str, frozenset[str]]]:
    """Scope of each convolution node, as often as it is used, and the scopes that reach it.

    ``scopes`` says which node names are convolutions, and of which scope.

    Raises:
        ModelError: nodes that feed each other in a circle.
    """
    reads = {name: node.inputs for name, node in graph.nodes.items()}
    arriving: dict[str, frozenset[str]] = {}
    found = []
    try:
        order = list(TopologicalSorter(reads).static_order())
    except CycleError as error:
        raise ModelError(f"{graph.path}: nodes feed each other in a circle") from error
    for name in order:
        node = graph.nodes.get(name)
        if node is None or node.op in _SIZES:
            continue
        before = _NOTHING.union(*(arriving.get(source, _NOTHING) for source in node.inputs))
        if name in scopes:
            found.append((scopes[name], before))
            before = frozenset({scopes[name]})
        arriving[name] = before
    return found
