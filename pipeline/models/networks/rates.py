"""Rates for strides: what makes a network for classification an encoder of DeepLab.

The rule (Chen et al. 2017, "Rethinking Atrous Convolution", section 3.1; the same that timm and
torchvision follow): where the features are already as coarse as the output stride allows, a
convolution loses its stride, and every later one is dilated by what was lost.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

import torch
from torch import nn

from maskmill.schemas.errors import SettingsError

_PROBE_SIZE: Final = 64  # a multiple of 32: every reduction is then an exact ratio of sizes


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderSpec:
    """How timm builds an encoder, and which convolutions multi-grid dilates, first to last.

    ``builder``: (output stride, eager rates) -> encoder, in the place of timm and the rule here.
    """

    timm_name: str
    multi_grid: tuple[str, ...] = ()
    options: MappingProxyType[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    builder: Callable[[int, bool], nn.Module] | None = None


def trade_strides_for_rates(encoder: nn.Module, output_stride: int, *, eager: bool = False) -> None:
    """Dilate an undilated network in place so that no feature map is coarser than asked.

    A convolution that loses its stride reads features that are as fine as it always did, so it
    keeps the old rate. ``eager`` gives it the new rate at once, as segmentation-models-pytorch
    does; the results differ.
    """
    for conv, reduction in _input_reductions(encoder):
        after = reduction * conv.stride[0]
        rate = max(1, (after if eager else reduction) // output_stride)
        if after > output_stride:
            conv.stride = (max(1, output_stride // reduction),) * 2
        if rate > 1:
            set_rate(conv, rate)


def pad_before_expansion(encoder: nn.Module, name: str) -> None:
    """Pad the inverted residuals of MobileNetV2 before their 1×1 expansion, the stem not at all.

    VainF's DeepLabV3Plus-Pytorch does so; the border then is what batch norm makes of zero.

    Raises:
        SettingsError: any other encoder.
    """
    if name != "mobilenetv2":
        raise SettingsError(f"early padding belongs to mobilenetv2, not to {name!r}")
    convs = {
        path: module for path, module in encoder.named_modules() if isinstance(module, nn.Conv2d)
    }
    convs["conv_stem"].padding = (0, 0)
    for path, conv in convs.items():
        if path.endswith(".conv_pw") and path.replace("conv_pw", "conv_pwl") in convs:
            depthwise = convs[path.replace("conv_pw", "conv_dw")]
            conv.padding, depthwise.padding = depthwise.padding, (0, 0)


def set_rate(conv: nn.Conv2d, rate: int) -> None:
    """Dilate one convolution in place; the padding keeps the size. 1×1 kernels stay as they are."""
    if conv.kernel_size[0] > 1:
        conv.dilation = (rate, rate)
        conv.padding = (rate * (conv.kernel_size[0] // 2), rate * (conv.kernel_size[1] // 2))


def _input_reductions(encoder: nn.Module) -> list[tuple[nn.Conv2d, int]]:
    """Each convolution with how much coarser than the image its input is, seen in one forward."""
    seen: list[tuple[nn.Conv2d, int]] = []

    def note(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if isinstance(module, nn.Conv2d) and inputs[0].shape[-1] > 1:
            seen.append((module, _PROBE_SIZE // inputs[0].shape[-1]))

    hooks = [module.register_forward_pre_hook(note) for module in encoder.modules()]
    device = next(encoder.parameters()).device
    training = encoder.training
    with torch.no_grad():
        encoder.eval()(torch.zeros(1, 3, _PROBE_SIZE, _PROBE_SIZE, device=device))
    encoder.train(training)
    for hook in hooks:
        hook.remove()
    return seen
