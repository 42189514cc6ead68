"""Convolution, bias and activation in one oneDNN call, weights laid out once: CPU inference only.

Uses the operator PyTorch's own compiler emits for CPUs. It is checked against the plain
computation before it is trusted; where it is missing or wrong, the plain network runs instead.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskmill.pipeline.models.networks.frozen_graph import Activation
from maskmill.pipeline.models.networks.same_convolution import SameConv2d, on_grid, same_padded
from maskmill.pipeline.models.networks.tf_mobilenetv2 import ImagePoolingAspp, TfMobileNetV2DeepLab

_ATTRIBUTES: dict[Activation, tuple[str, list[float]]] = {
    "none": ("none", []),
    "relu": ("relu", []),
    "relu6": ("hardtanh", [0.0, 6.0]),
}
_MAX_LAYOUTS = 8
FINE_BLOCKS = 3
"""Blocks computed in float32 whatever the precision, and the stem with them: those at stride 4 and
finer. bfloat16 loses most of its labels there (0.9 % of all pixels in all layers, 0.5 % with these
spared, on 64 photographs), and they cost a tenth more time."""
_TOLERANCE = 1e-4


class FusedConv2d(nn.Module):
    """A SameConv2d for inference. Weights are laid out anew for every input shape it meets.

    By shape, and not once for all, so that a result never depends on which shape came first.
    """

    def __init__(
        self, plain: SameConv2d, dtype: torch.dtype, *, weight: Tensor | None = None
    ) -> None:
        super().__init__()
        kernel = (plain.weight if weight is None else weight).detach().to(dtype)
        self.weight = kernel.contiguous(memory_format=torch.channels_last)
        assert plain.bias is not None
        self.bias = plain.bias.detach().to(dtype)
        self.stride, self.dilation = list(plain.stride), list(plain.dilation)
        self.padding = [int(size) for size in plain.padding]
        self.groups = plain.groups
        self.attribute, self.scalars = _ATTRIBUTES[plain.activation]
        self.step, self.zero = plain.step, plain.zero
        self._layouts: dict[torch.Size, Tensor] = {}

    def forward(self, pixels: Tensor, bias: Tensor | None = None) -> Tensor:
        """(N, C, H, W) channels last -> (N, C', h, w); ``bias`` (C',) replaces the layer's own."""
        padding, pixels = self.padding, pixels.to(self.weight.dtype)
        if self.stride[0] == 2 and not (pixels.shape[2] % 2 and pixels.shape[3] % 2):
            pixels, padding = same_padded(pixels), [0, 0]
        features = torch.ops.mkldnn._convolution_pointwise(
            pixels,
            self._laid_out(pixels.shape, padding),
            self.bias if bias is None else bias,
            padding,
            self.stride,
            self.dilation,
            self.groups,
            self.attribute,
            self.scalars,
            "",
        )
        return on_grid(features, self.step, self.zero)

    def _laid_out(self, shape: torch.Size, padding: list[int]) -> Tensor:
        layout = self._layouts.get(shape)
        if layout is None:  # threads may share the network: what another clears, we still hold
            if len(self._layouts) >= _MAX_LAYOUTS:
                self._layouts.clear()
            layout = torch.ops.mkldnn._reorder_convolution_weight(
                self.weight, padding, self.stride, self.dilation, self.groups, list(shape)
            )
            self._layouts[shape] = layout
        return layout


class FusedAspp(nn.Module):
    """ImagePoolingAspp for one image at a time: the pooled share is the projection's bias."""

    def __init__(self, plain: ImagePoolingAspp, dtype: torch.dtype) -> None:
        super().__init__()
        for_pooled, for_local = plain.projection.weight.detach().chunk(2, dim=1)
        self.pooling = FusedConv2d(plain.pooling, dtype)
        self.branch = FusedConv2d(plain.branch, dtype)
        self.projection = FusedConv2d(plain.projection, dtype, weight=for_local)
        self.for_pooled = for_pooled.flatten(1).float()  # (channels, channels)

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, channels, h, w)."""
        pooled = self.pooling(features.mean((2, 3), keepdim=True)).flatten(1).float()
        biases = F.linear(pooled, self.for_pooled, self.projection.bias.float())
        biases = biases.to(self.projection.bias.dtype)
        local = self.branch(features)
        if len(biases) == 1:
            return self.projection(local, biases[0])  # type: ignore[no-any-return]
        return torch.cat(
            [self.projection(*pair) for pair in zip(local.split(1), biases, strict=True)]
        )


class CastInput(nn.Module):
    """A network whose weights are in another number format than its input."""

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.network, self.dtype = network, dtype

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, 3, H, W) of any float type -> logits."""
        return self.network(pixels.to(self.dtype))  # type: ignore[no-any-return]


def fuse_network(network: TfMobileNetV2DeepLab, dtype: torch.dtype) -> nn.Module:
    """The network with its convolutions replaced, in place; only cast where fusion fails."""
    if not fusion_works(dtype):
        return CastInput(network.to(dtype), dtype).eval()
    backbone = network.backbone
    backbone.add_module("stem", FusedConv2d(backbone.stem, torch.float32))
    for block in backbone.blocks[:FINE_BLOCKS]:
        _replace(block, torch.float32)
    _replace(network, dtype)
    return network.eval()


@lru_cache
def fusion_works(dtype: torch.dtype) -> bool:
    """Whether the fused operator exists here and agrees with the plain one on a small example."""
    available: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not available or not hasattr(torch.ops, "mkldnn"):
        return False
    values = (
        torch.linspace(-3, 9, 4 * 9 * 9)
        .view(1, 4, 9, 9)
        .contiguous(memory_format=torch.channels_last)
    )
    plain = SameConv2d(4, 4, 3, activation="relu6", depthwise=True)
    nn.init.constant_(plain.weight, 0.125)
    try:
        with torch.inference_mode():
            fused = FusedConv2d(plain, dtype)(values.to(dtype))
            expected = plain.to(dtype)(values.to(dtype))
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
    return bool((fused - expected).abs().max() <= (_TOLERANCE if dtype == torch.float32 else 0.05))


def _replace(module: nn.Module, dtype: torch.dtype) -> None:
    for name, child in module.named_children():
        if isinstance(child, SameConv2d):
            setattr(module, name, FusedConv2d(child, dtype))
        elif isinstance(child, ImagePoolingAspp):
            setattr(module, name, FusedAspp(child, dtype))
        else:
            _replace(child, dtype)
