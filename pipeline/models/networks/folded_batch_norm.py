"""Batch norm as part of the convolution before it: where launches count, one less for each.

Which convolution is before it is not read off the network's code but seen in a forward, so that it
is true of networks of every make.
"""

from collections import Counter
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

_TRIAL_HW = (65, 65)


def fold_batch_norms(network: nn.Module) -> nn.Module:
    """The network, in place, with each batch norm in the weights of the convolution it follows.

    A batch norm stays where something else reads what the convolution says, where either is called
    more than once, or where nothing is known of its kind. In evaluation mode only.
    """
    convolutions = {id(one.weight): one for one in _all(network, nn.Conv2d)}
    with_statistics = [one for one in _all(network, nn.BatchNorm2d) if one.track_running_stats]
    norms = {id(one.running_mean): one for one in with_statistics}
    if not norms:
        return network
    with torch.no_grad(), _Reads() as seen:
        network(torch.zeros(1, 3, *_TRIAL_HW))
    for weight, mean in seen.pairs():
        convolution, norm = convolutions.get(weight), norms.get(mean)
        rest = None if norm is None else _without_norm(norm)
        if convolution is not None and norm is not None and rest is not None:
            _fold(convolution, norm)
            _replace(network, norm, rest)
    return network


class _Reads(TorchFunctionMode):
    """Who reads what a convolution says, by the identity of tensors."""

    def __init__(self) -> None:
        super().__init__()
        self._alive: list[Any] = []  # else another tensor could get the identity of a freed one
        self._reads: Counter[int] = Counter()
        self._convolved: dict[int, int] = {}  # what was said -> weights
        self._normed: list[tuple[int, int]] = []  # what was read, running mean

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        answer = func(*args, **kwargs)
        if not _tensors(answer):  # a shape, a device, a number of dimensions
            return answer
        self._alive.append((args, answer))
        self._reads.update(id(one) for one in _tensors((args, kwargs)))
        if func is F.conv2d and len(args) > 1:
            self._convolved[id(answer)] = id(args[1])
        elif func is F.batch_norm and len(args) > 1:
            self._normed.append((id(args[0]), id(args[1])))
        return answer

    def pairs(self) -> list[tuple[int, int]]:
        """Weights and running mean of each convolution that only one batch norm reads."""
        return [
            (self._convolved[said], mean)
            for said, mean in self._normed
            if said in self._convolved
            and self._reads[said] == self._reads[mean] == self._reads[self._convolved[said]] == 1
        ]


def _tensors(values: Any) -> list[Tensor]:
    return [one for one in tree_leaves(values) if isinstance(one, Tensor)]


def _all(network: nn.Module, kind: type[Any]) -> list[Any]:
    return [module for module in network.modules() if isinstance(module, kind)]


def _without_norm(norm: nn.BatchNorm2d) -> nn.Module | None:
    """What is left of a layer when its batch norm is gone; None where that is not known."""
    if type(norm) is nn.BatchNorm2d:
        return nn.Identity()
    if type(norm).__name__ == "BatchNormAct2d":  # timm's, with the activation in it
        return nn.Sequential(norm.get_submodule("drop"), norm.get_submodule("act"))
    return None


def _fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    """In float64, so that it is rounded once."""
    from torch.nn.utils.fusion import fuse_conv_bn_weights

    weight, bias = fuse_conv_bn_weights(
        convolution.weight.detach().double(),
        _double(convolution.bias),
        _required(norm.running_mean),
        _required(norm.running_var),
        norm.eps,
        _double(norm.weight),
        _double(norm.bias),
    )
    convolution.weight, convolution.bias = (
        nn.Parameter(one.detach().float(), requires_grad=False) for one in (weight, bias)
    )


def _double(values: Tensor | None) -> Tensor | None:
    return None if values is None else values.detach().double()


def _required(values: Tensor | None) -> Tensor:
    if values is None:
        raise ValueError("a batch norm without statistics of its own cannot be folded")
    return values.double()


def _replace(network: nn.Module, norm: nn.Module, rest: nn.Module) -> None:
    for module in network.modules():
        for name, child in module.named_children():
            if child is norm:
                setattr(module, name, rest)
