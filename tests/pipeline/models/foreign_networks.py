"""Networks with the key layout and arithmetic of other DeepLab projects, written for comparison.

Facts, not code, were taken from VainF's DeepLabV3Plus-Pytorch (48f990b) and mmsegmentation 0.x.
"""

import torch
from torch import nn
from torch.nn import functional
from torchvision.models import resnet


def randomize(network: nn.Module) -> nn.Module:
    """Weights that carry signal to the end, batch norms as after training; evaluation mode."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 1.5)
            module.num_batches_tracked += 7
            nn.init.uniform_(module.weight, 0.7, 1.3)
            nn.init.normal_(module.bias, 0, 0.1)
    return network.eval()


def conv_bn_relu(before: int, after: int, kernel: int = 1, rate: int = 1) -> list[nn.Module]:
    padding = rate * (kernel // 2)
    return [
        nn.Conv2d(before, after, kernel, padding=padding, dilation=rate, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(),
    ]


def resized(features: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return functional.interpolate(features, like.shape[2:], mode="bilinear", align_corners=False)


def resnet_stages(depth: int, rates: tuple[bool, bool]) -> nn.Module:
    body = getattr(resnet, f"resnet{depth}")(replace_stride_with_dilation=[False, *rates])
    del body.fc
    return body


def run_resnet(body: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    x = body.maxpool(body.relu(body.bn1(body.conv1(x))))
    low = body.layer1(x)
    return low, body.layer4(body.layer3(body.layer2(low)))


class VainfASPP(nn.Module):
    def __init__(self, channels: int, rates: tuple[int, ...]):
        super().__init__()
        self.convs = nn.ModuleList([nn.Sequential(*conv_bn_relu(channels, 256))])
        for rate in rates:
            self.convs.append(nn.Sequential(*conv_bn_relu(channels, 256, 3, rate)))
        self.convs.append(nn.Sequential(nn.AdaptiveAvgPool2d(1), *conv_bn_relu(channels, 256)))
        self.project = nn.Sequential(*conv_bn_relu(5 * 256, 256), nn.Dropout(0.1))

    def forward(self, x):
        seen = [conv(x) for conv in self.convs]
        seen[-1] = resized(seen[-1], x)
        return self.project(torch.cat(seen, 1))


class VainfPlusHead(nn.Module):
    def __init__(self, channels: int, low: int, classes: int, rates: tuple[int, ...]):
        super().__init__()
        self.project = nn.Sequential(*conv_bn_relu(low, 48))
        self.aspp = VainfASPP(channels, rates)
        self.classifier = nn.Sequential(*conv_bn_relu(304, 256, 3), nn.Conv2d(256, classes, 1))

    def forward(self, low, high):
        edges = self.project(low)
        return self.classifier(torch.cat([edges, resized(self.aspp(high), edges)], 1))


class VainfHead(nn.Module):
    def __init__(self, channels: int, low: int, classes: int, rates: tuple[int, ...]):
        super().__init__()
        self.classifier = nn.Sequential(
            VainfASPP(channels, rates), *conv_bn_relu(256, 256, 3), nn.Conv2d(256, classes, 1)
        )

    def forward(self, low, high):
        return self.classifier(high)


class SeparableBody(nn.Module):
    """What --separable_conv puts in the place of a 3×3 convolution."""

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(conv.in_channels, conv.in_channels, 3, padding=conv.padding,
                      dilation=conv.dilation, groups=conv.in_channels, bias=False),
            nn.Conv2d(conv.in_channels, conv.out_channels, 1, bias=False),
        )  # fmt: skip

    def forward(self, x):
        return self.body(x)


def make_separable(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.Conv2d) and child.kernel_size[0] > 1:
            setattr(module, name, SeparableBody(child))
        else:
            make_separable(child)


class VainfBlock(nn.Module):
    """An inverted residual that pads its input, before the expansion."""

    def __init__(self, before: int, after: int, stride: int, rate: int, expand: int):
        super().__init__()
        hidden = before * expand
        self.rate, self.skip = rate, stride == 1 and before == after
        expansion = [self._unit(before, hidden, 1, 1, 1, 1)] if expand != 1 else []
        self.conv = nn.Sequential(
            *expansion,
            self._unit(hidden, hidden, 3, stride, rate, hidden),
            nn.Conv2d(hidden, after, 1, bias=False),
            nn.BatchNorm2d(after),
        )

    @staticmethod
    def _unit(before, after, kernel, stride, rate, groups):
        return nn.Sequential(
            nn.Conv2d(before, after, kernel, stride, 0, rate, groups, bias=False),
            nn.BatchNorm2d(after), nn.ReLU6(),
        )  # fmt: skip

    def forward(self, x):
        out = self.conv(functional.pad(x, (self.rate,) * 4))
        return x + out if self.skip else out


class VainfMobileNetV2(nn.Module):
    def __init__(self, output_stride: int):
        super().__init__()
        blocks: list[nn.Module] = [VainfBlock._unit(3, 32, 3, 2, 1, 1)]
        channels, stride, rate = 32, 2, 1
        for expand, width, count, step in (
            (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2),
            (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
        ):  # fmt: skip
            first_rate, first_step = rate, step
            if stride == output_stride:
                first_step, rate = 1, rate * step
            else:
                stride *= step
            for unit in range(count):
                blocks.append(
                    VainfBlock(channels, width, first_step, first_rate, expand) if unit == 0
                    else VainfBlock(channels, width, 1, rate, expand)
                )  # fmt: skip
                channels = width
        features = nn.Sequential(*blocks)
        self.low_level_features, self.high_level_features = features[:4], features[4:]

    def forward(self, x):
        low = self.low_level_features(x)
        return low, self.high_level_features(low)


class Vainf(nn.Module):
    def __init__(self, backbone: str, classes: int, output_stride: int, *, plus: bool):
        super().__init__()
        rates = (12, 24, 36) if output_stride == 8 else (6, 12, 18)
        head = VainfPlusHead if plus else VainfHead
        if backbone == "mobilenet":
            self.backbone: nn.Module = VainfMobileNetV2(output_stride)
            self.classifier = head(320, 24, classes, rates)
        else:
            self.backbone = resnet_stages(int(backbone[6:]), (output_stride == 8, True))
            self.classifier = head(2048, 256, classes, rates)

    def forward(self, x):
        body = self.backbone
        low, high = run_resnet(body, x) if hasattr(body, "layer4") else body(x)
        return self.classifier(low, high)


class ConvModule(nn.Module):
    def __init__(self, before: int, after: int, kernel: int = 1, rate: int = 1, groups: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(before, after, kernel, padding=rate * (kernel // 2), dilation=rate,
                              groups=groups, bias=False)  # fmt: skip
        self.bn = nn.BatchNorm2d(after)

    def forward(self, x):
        return functional.relu(self.bn(self.conv(x)))


class SeparableModule(nn.Module):
    def __init__(self, before: int, after: int, rate: int = 1):
        super().__init__()
        self.depthwise_conv = ConvModule(before, before, 3, rate, before)
        self.pointwise_conv = ConvModule(before, after)

    def forward(self, x):
        return self.pointwise_conv(self.depthwise_conv(x))


class MmsegHead(nn.Module):
    def __init__(self, classes: int, width: int, *, plus: bool, separable_bottleneck: bool = False):
        super().__init__()
        branch = (lambda rate: SeparableModule(2048, width, rate)) if plus else (
            lambda rate: ConvModule(2048, width, 3, rate)
        )  # fmt: skip
        self.conv_seg = nn.Conv2d(width, classes, 1)
        self.image_pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), ConvModule(2048, width))
        self.aspp_modules = nn.ModuleList(
            [ConvModule(2048, width), *[branch(rate) for rate in (12, 24, 36)]]
        )
        self.bottleneck = (
            SeparableModule(5 * width, width) if separable_bottleneck
            else ConvModule(5 * width, width, 3)
        )  # fmt: skip
        if plus:
            self.c1_bottleneck = ConvModule(256, 48)
            self.sep_bottleneck = nn.Sequential(
                SeparableModule(width + 48, width), SeparableModule(width, width)
            )

    def forward(self, low, high):
        seen = [resized(self.image_pool(high), high)]
        seen += [module(high) for module in self.aspp_modules]
        out = self.bottleneck(torch.cat(seen, 1))
        if hasattr(self, "sep_bottleneck"):
            edges = self.c1_bottleneck(low)
            out = self.sep_bottleneck(torch.cat([resized(out, edges), edges], 1))
        return self.conv_seg(out)


class Mmseg(nn.Module):
    """EncoderDecoder with a ResNet-50 v1c (deep stem) or v1b, and an auxiliary head as trained."""

    def __init__(self, classes: int, *, plus: bool, deep_stem: bool = True, width: int = 64,
                 separable_bottleneck: bool = False):  # fmt: skip
        super().__init__()
        self.backbone = resnet_stages(50, (True, True))
        if deep_stem:
            del self.backbone.conv1, self.backbone.bn1
            self.backbone.stem = nn.Sequential(
                nn.Conv2d(3, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
                nn.Conv2d(32, 32, 3, 1, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
                nn.Conv2d(32, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
            )  # fmt: skip
        self.decode_head = MmsegHead(
            classes, width, plus=plus, separable_bottleneck=separable_bottleneck
        )
        self.auxiliary_head = nn.ModuleDict({"conv_seg": nn.Conv2d(1024, classes, 1)})

    def forward(self, x):
        body = self.backbone
        if not hasattr(body, "stem"):
            return self.decode_head(*run_resnet(body, x))
        low = body.layer1(body.maxpool(body.stem(x)))
        return self.decode_head(low, body.layer4(body.layer3(body.layer2(low))))
