"""torchvision's DeepLabv3 variants, up to the logits on their own grid."""

from importlib import import_module

from torch import Tensor, nn

VARIANTS = ("deeplabv3_mobilenet_v3_large", "deeplabv3_resnet50", "deeplabv3_resnet101")


class TorchvisionDeepLabV3(nn.Module):
    """Backbone and classifier of torchvision, without its upsampling and auxiliary head.

    Submodules keep torchvision's names, so its state dicts load as they are.
    """

    def __init__(self, backbone: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = classifier

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, 3, H, W) float, ImageNet normalised -> (N, classes, h, w) logits."""
        return self.classifier(self.backbone(pixels)["out"])  # type: ignore[no-any-return]


def build(num_classes: int, *, variant: str) -> TorchvisionDeepLabV3:
    """One of VARIANTS with random weights."""
    segmentation = import_module("torchvision.models.segmentation")
    whole = getattr(segmentation, variant)(
        weights=None, weights_backbone=None, num_classes=num_classes, aux_loss=False
    )
    return TorchvisionDeepLabV3(whole.backbone, whole.classifier)
