"""TensorFlow's convolution: SAME padding, bias and activation, on an int8 grid where it has one."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskmill.pipeline.models.networks.frozen_graph import Activation

_UNTRAINED_STEP = 2.0**-10  # random weights answer with about a tenth


class SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's SAME padding, bias, activation; odd kernels, stride 1, 2.

    ``explicit``: padded by half the kernel on every side before a stride, whatever the size, as
    the ``conv2d_same`` of TensorFlow's ResNet and Xception does; SAME pads even sizes after only.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int = 1,
        *,
        activation: Activation,
        stride: int = 1,
        dilation: int = 1,
        depthwise: bool = False,
        explicit: bool = False,
    ) -> None:
        super().__init__(
            channels_in,
            channels_out,
            kernel,
            stride=stride,
            dilation=dilation,
            padding=dilation * (kernel // 2),
            groups=channels_in if depthwise else 1,
        )
        self.activation = activation
        self.explicit = explicit or kernel == 1
        self.step: Tensor | None = None
        self.zero: Tensor | None = None

    def keep_on_grid(self) -> None:
        """Give the layer an int8 grid for its output, to be filled from a state dict."""
        del self.step, self.zero
        self.register_buffer("step", torch.tensor(_UNTRAINED_STEP))
        self.register_buffer("zero", torch.tensor(0, dtype=torch.int32))

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', ceil(H / stride), ceil(W / stride)), activation applied."""
        return self.rounded(activated(self._convolved(pixels), self.activation))

    def rounded(self, features: Tensor) -> Tensor:
        """Features on the layer's grid; as they are where it has none."""
        return on_grid(features, self.step, self.zero)

    def _convolved(self, pixels: Tensor) -> Tensor:
        height, width = pixels.shape[-2:]
        if self.stride[0] == 1 or self.explicit:
            return super().forward(pixels)
        if not torch.compiler.is_exporting() and height % 2 and width % 2:
            return super().forward(pixels)  # odd sizes: SAME is symmetric, no copy needed
        padded = same_padded(pixels)
        return F.conv2d(padded, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


def same_padded(pixels: Tensor) -> Tensor:
    """SAME padding for kernel 3, stride 2: one on both sides of odd sizes, one after even ones."""
    return F.pad(pixels, (pixels.shape[-1] % 2, 1, pixels.shape[-2] % 2, 1))


def on_grid(features: Tensor, step: Tensor | None, zero: Tensor | None) -> Tensor:
    """Rounded to and clamped into step * (-128 - zero, …, 127 - zero), in float32."""
    if step is None or zero is None:
        return features
    steps = (features.float() / step).round_()
    return steps.clamp_(-128 - zero, 127 - zero).mul_(step).to(features.dtype)


def activated(features: Tensor, activation: Activation) -> Tensor:
    """The activation, in place."""
    if activation == "none":
        return features
    return F.relu6(features, inplace=True) if activation == "relu6" else F.relu_(features)
