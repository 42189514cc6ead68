"""Makes the golden files beside it, with the code of the projects themselves.

    python tests/golden/checkpoints/make.py PROJECT [SOURCE]

PROJECT is a key of PROJECTS; SOURCE is a checkout of its repository at the commit named there
(packages: installed, at the version named there; torch, and what a project itself imports). Each
case becomes NAME.json.xz: the network's state dict as names, shapes and types, and what the
project's own network answers, at some points of the full-size logits, when its weights and a
picture are filled by the rule of seeded.py. It answers in float64: a hundred layers of random
weights multiply what float32 rounds, and every processor rounds sums in another order.
"""

# ruff: noqa: B023 (a case is built before the next one is asked for)
import json
import lzma
import sys
import types
from pathlib import Path

import numpy
import torch
from torch import nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parent))
from seeded import sampled_points, seeded_photograph, seeded_picture, seeded_state

HERE = Path(__file__).parent
CLASSES = 5


def full_size(logits, size, align_corners):
    return functional.interpolate(logits, size, mode="bilinear", align_corners=align_corners)


def first(answer):
    return answer[0] if isinstance(answer, (tuple, list)) else answer


def vainf(_):
    import network
    from network import modeling
    from network.modeling import __dict__ as models

    for name in (
        "deeplabv3plus_mobilenet", "deeplabv3plus_resnet50", "deeplabv3plus_resnet101",
        "deeplabv3_mobilenet", "deeplabv3_resnet50", "deeplabv3plus_xception",
        "deeplabv3_xception",
    ):  # fmt: skip
        for stride in (8, 16):
            yield (
                f"{name}_os{stride}",
                lambda: models[name](
                    num_classes=CLASSES, output_stride=stride, pretrained_backbone=False
                ),
                # Its Xception pads its last convolutions too little: they need room.
                {"output_stride": stride, "size": (145, 289) if "xception" in name else (49, 289)},
            )

    for name in ("deeplabv3plus_hrnetv2_32", "deeplabv3_hrnetv2_48"):
        yield (
            name,
            lambda: models[name](num_classes=CLASSES, pretrained_backbone=False),
            {"size": (64, 288)},  # its branches want multiples of 32
        )

    def separable():
        model = modeling.deeplabv3plus_mobilenet(
            num_classes=CLASSES, output_stride=16, pretrained_backbone=False
        )
        network.convert_to_separable_conv(model.classifier)
        return model

    yield "deeplabv3plus_mobilenet_separable", separable, {"output_stride": 16}


def jfzhang(_):
    from modeling.backbone import drn, mobilenet, resnet, xception
    from modeling.deeplab import DeepLab

    # The weights of ImageNet are not wanted.
    for kind in (resnet.ResNet, xception.AlignedXception, mobilenet.MobileNetV2):
        kind._load_pretrained_model = lambda self: None
    drn_d_54 = drn.drn_d_54
    drn.drn_d_54 = lambda norm: drn_d_54(norm, pretrained=False)
    for backbone, stride in (
        ("resnet", 16), ("resnet", 8), ("xception", 16), ("xception", 8), ("mobilenet", 16),
        ("mobilenet", 8), ("drn", 8),
    ):  # fmt: skip
        yield (
            f"{backbone}_os{stride}",
            lambda: DeepLab(
                backbone=backbone, output_stride=stride, num_classes=CLASSES, sync_bn=False
            ),
            {"output_stride": stride},
        )


def bubbliiiing(_):
    from nets.deeplabv3_plus import DeepLab

    for backbone in ("mobilenet", "xception"):
        for stride in (8, 16):
            yield (
                f"{backbone}_os{stride}",
                lambda: DeepLab(
                    CLASSES, backbone=backbone, pretrained=False, downsample_factor=stride
                ),
                {"output_stride": stride},
            )


def smp(_):
    import segmentation_models_pytorch as smp

    for encoder in (
        "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d",
        "se_resnet50", "mobilenet_v2", "efficientnet-b0", "efficientnet-b1", "efficientnet-b2",
        "efficientnet-b3", "efficientnet-b4", "timm-mobilenetv3_large_100",
        "tu-mobilenetv3_large_100", "tu-xception65",
    ):  # fmt: skip
        yield (
            f"v3plus_{encoder}",
            lambda: smp.DeepLabV3Plus(encoder, encoder_weights=None, classes=CLASSES),
            {},
        )
    for encoder in ("resnet50", "mobilenet_v2", "efficientnet-b0", "se_resnet50"):
        yield (
            f"v3plus_{encoder}_os8",
            lambda: smp.DeepLabV3Plus(
                encoder, encoder_weights=None, classes=CLASSES, encoder_output_stride=8
            ),
            {"output_stride": 8},
        )
    for encoder in ("resnet34", "resnet50", "mobilenet_v2", "efficientnet-b0"):
        yield (
            f"v3_{encoder}",
            lambda: smp.DeepLabV3(encoder, encoder_weights=None, classes=CLASSES),
            {},
        )
    yield (
        "v3plus_resnet18_rates",
        lambda: smp.DeepLabV3Plus(
            "resnet18", encoder_weights=None, classes=CLASSES, decoder_atrous_rates=(6, 12, 18)
        ),
        {"options": ["rates=6,12,18"]},
    )
    yield "v3plus_resnet18_plain", lambda: smp.DeepLabV3Plus(
        "resnet18", encoder_weights=None, classes=CLASSES, decoder_aspp_separable=False,
        decoder_channels=64,
    ), {}  # fmt: skip


def torchvision(_):
    from torchvision.models import segmentation

    class Out(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, images):
            return self.inner(images)["out"]

    for variant in ("mobilenet_v3_large", "resnet50", "resnet101"):
        yield (
            variant,
            lambda: Out(
                getattr(segmentation, f"deeplabv3_{variant}")(
                    weights=None, weights_backbone=None, num_classes=CLASSES, aux_loss=True
                )
            ),
            {"prefix": "inner."},
        )


class Compiled(types.ModuleType):
    """In the place of mmcv's compiled operations: imported by heads that are not used here."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *arguments: None


def mmsegmentation(_):
    sys.modules["mmcv._ext"] = Compiled("mmcv._ext")
    from mmengine.config import Config
    from mmengine.registry import init_default_scope
    from mmseg.registry import MODELS

    init_default_scope("mmseg")
    import mmseg

    configs = Path(mmseg.__file__).parent / ".mim" / "configs"
    cases = {
        "v3_r50-d8": "deeplabv3/deeplabv3_r50-d8_4xb2-40k_cityscapes-512x1024.py",
        "v3_r18-d8": "deeplabv3/deeplabv3_r18-d8_4xb2-80k_cityscapes-512x1024.py",
        "v3_r50b-d8": "deeplabv3/deeplabv3_r50b-d8_4xb2-80k_cityscapes-769x769.py",
        "v3_r101-d16-mg124": "deeplabv3/deeplabv3_r101-d16-mg124_4xb2-40k_cityscapes-512x1024.py",
        "v3plus_r50-d8": "deeplabv3plus/deeplabv3plus_r50-d8_4xb2-40k_cityscapes-512x1024.py",
        "v3plus_r101-d8": "deeplabv3plus/deeplabv3plus_r101-d8_4xb2-40k_cityscapes-512x1024.py",
        "v3plus_r18-d8": "deeplabv3plus/deeplabv3plus_r18-d8_4xb2-80k_cityscapes-512x1024.py",
        "v3plus_r18b-d8": "deeplabv3plus/deeplabv3plus_r18b-d8_4xb2-80k_cityscapes-512x1024.py",
        "v3plus_r101-d16-mg124": (
            "deeplabv3plus/deeplabv3plus_r101-d16-mg124_4xb2-40k_cityscapes-512x1024.py"
        ),
        "v3plus_r50-d8_769": "deeplabv3plus/deeplabv3plus_r50-d8_4xb2-40k_cityscapes-769x769.py",
        "v3_m-v2-d8": "mobilenet_v2/mobilenet-v2-d8_deeplabv3_4xb2-80k_cityscapes-512x1024.py",
        "v3plus_m-v2-d8": (
            "mobilenet_v2/mobilenet-v2-d8_deeplabv3plus_4xb2-80k_cityscapes-512x1024.py"
        ),
    }

    class Whole(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, images):
            metas = [{"img_shape": images.shape[2:], "ori_shape": images.shape[2:],
                      "pad_shape": images.shape[2:], "padding_size": [0] * 4}]  # fmt: skip
            return self.inner.encode_decode(images, metas)

    def build(path):
        config = Config.fromfile(path)
        model = config.model
        model.pretrained = None
        model.backbone.init_cfg = None
        for part in (model.backbone, model.decode_head, model.auxiliary_head):
            part.norm_cfg = {"type": "BN", "requires_grad": True}
        model.decode_head.num_classes = model.auxiliary_head.num_classes = CLASSES
        return Whole(MODELS.build(model)), config

    for name, path in cases.items():
        _, config = build(configs / path)
        yield name, lambda: build(configs / path)[0], {
            "prefix": "inner.", "cfg": config.pretty_text,
        }  # fmt: skip


def huggingface(_):
    from transformers import MobileNetV2Config, MobileNetV2ForSemanticSegmentation

    class Logits(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, images):
            # The image processor resizes logits so, half-pixel.
            return full_size(self.inner(images).logits, images.shape[2:], False)

    for name, options in {
        "mobilenet_v2_1.0": {}, "mobilenet_v2_0.5": {"depth_multiplier": 0.5},
    }.items():  # fmt: skip
        config = MobileNetV2Config(num_labels=CLASSES, output_stride=8, image_size=513, **options)
        yield name, lambda: Logits(MobileNetV2ForSemanticSegmentation(config)), {
            "prefix": "inner.", "config": config.to_dict(),
        }  # fmt: skip


def yudewang(_):
    from net import deeplabv3plus as module

    build = module.build_backbone
    module.build_backbone = lambda name, os: build(name, pretrained=False, os=os)
    for backbone in ("xception", "res50_atrous", "res101_atrous"):
        for stride in (16, 8):
            config = types.SimpleNamespace(
                MODEL_BACKBONE=backbone, MODEL_OUTPUT_STRIDE=stride, MODEL_ASPP_OUTDIM=256,
                MODEL_SHORTCUT_DIM=48, MODEL_SHORTCUT_KERNEL=1, MODEL_NUM_CLASSES=CLASSES,
                TRAIN_BN_MOM=0.0003,
            )  # fmt: skip
            yield f"{backbone}_os{stride}", lambda: module.deeplabv3plus(config), {
                "output_stride": stride, "size": (48, 288),
            }  # fmt: skip


def kazuto(_):
    from libs.models.deeplabv3 import DeepLabV3
    from libs.models.deeplabv3plus import DeepLabV3Plus

    class Upsampled(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, images):
            return full_size(self.inner(images), images.shape[2:], False)

    rates = {8: [12, 24, 36], 16: [6, 12, 18]}  # as libs/models/__init__.py has them
    for name, build in (("v3", DeepLabV3), ("v3plus", DeepLabV3Plus)):
        for stride in (8, 16):
            yield (
                f"{name}_os{stride}",
                lambda: Upsampled(build(CLASSES, [3, 4, 23, 3], rates[stride], [1, 2, 4], stride)),
                {"prefix": "inner.", "output_stride": stride},
            )


def chenxi(_):
    import deeplab

    # Its dilations are quotients: whole numbers to the Python it was written in.
    conv = nn.Conv2d.__init__

    def whole(self, *arguments, **options):
        arguments = [int(one) if isinstance(one, float) else one for one in arguments]
        options = {key: int(one) if isinstance(one, float) else one for key, one in options.items()}
        conv(self, *arguments, **options)

    nn.Conv2d.__init__ = whole
    for name, options in {
        "resnet101": {}, "resnet101_beta": {"beta": True},
    }.items():  # fmt: skip
        yield name, lambda: deeplab.resnet101(num_classes=CLASSES, **options), {}
    yield "resnet50", lambda: deeplab.resnet50(num_classes=CLASSES), {}
    yield (
        "resnet50_ws",
        lambda: deeplab.resnet50(num_classes=CLASSES, weight_std=True),
        {"options": ["weight_std=true"]},
    )
    yield (
        "resnet101_gn_ws",
        lambda: deeplab.resnet101(num_classes=CLASSES, num_groups=32, weight_std=True),
        {},
    )
    yield (
        "resnet50_gn16",
        lambda: deeplab.resnet50(num_classes=CLASSES, num_groups=16),
        {"options": ["norm_groups=16", "weight_std=false"]},
    )


def hualin(_):
    sys.modules["torchsummary"] = types.SimpleNamespace(summary=None)
    from graphs.models.decoder import DeepLab

    yield "resnet101_os16", lambda: DeepLab(16, CLASSES, pretrained=False), {}


def tramac(_):
    from core.models.deeplabv3 import DeepLabV3

    for depth in (50, 101):
        yield (
            f"v3_resnet{depth}",
            lambda: DeepLabV3(CLASSES, backbone=f"resnet{depth}", aux=True, pretrained_base=False),
            {},
        )
    # Its DeepLabV3Plus cannot be built: the head leaves out an argument that its ASPP needs.


def detectron2(source):
    from detectron2.config import get_cfg
    from detectron2.layers import ShapeSpec
    from detectron2.modeling import BACKBONE_REGISTRY, SEM_SEG_HEADS_REGISTRY

    sys.path.insert(0, str(Path(source[0]) / "projects" / "DeepLab"))
    from deeplab import add_deeplab_config

    class Whole(nn.Module):
        """The parts of its SemanticSegmentor, without the padding and sizes of its pictures."""

        def __init__(self, cfg):
            super().__init__()
            self.backbone = BACKBONE_REGISTRY.get(cfg.MODEL.BACKBONE.NAME)(
                cfg, ShapeSpec(channels=3)
            )
            head = SEM_SEG_HEADS_REGISTRY.get(cfg.MODEL.SEM_SEG_HEAD.NAME)
            self.sem_seg_head = head(cfg, self.backbone.output_shape())

        def forward(self, images):
            return self.sem_seg_head(self.backbone(images))[0]

    def configured(version, changes):
        cfg = get_cfg()
        add_deeplab_config(cfg)
        folder = Path(source[0]) / "projects/DeepLab/configs/Cityscapes-SemanticSegmentation"
        name = f"deeplab_{version}_R_103_os16_mg124_poly_90k_bs16.yaml"
        cfg.merge_from_file(str(folder / name))
        fixed = ["MODEL.RESNETS.NORM", "BN", "MODEL.SEM_SEG_HEAD.NORM", "BN",
                 "MODEL.SEM_SEG_HEAD.NUM_CLASSES", CLASSES]  # fmt: skip
        cfg.merge_from_list(fixed + changes)
        return cfg

    fine = ["MODEL.RESNETS.RES4_DILATION", 2, "MODEL.RESNETS.RES5_DILATION", 4,
            "MODEL.SEM_SEG_HEAD.ASPP_DILATIONS", [12, 24, 36]]  # fmt: skip
    whole = ["INPUT.CROP.ENABLED", False]
    small = ["INPUT.CROP.SIZE", [32, 64]]
    fifty = ["MODEL.RESNETS.DEPTH", 50]
    cases = {  # sizes are multiples of the crops, as its pooling wants
        "v3_r103_crop": ("v3", small, (64, 256)),
        "v3_r53_os8": ("v3", [*fifty, *fine, *whole, "MODEL.SEM_SEG_HEAD.COMMON_STRIDE", 8],
                       (48, 288)),
        "v3plus_r103_crop": ("v3_plus", small, (64, 256)),
        "v3plus_r53_separable": (
            "v3_plus", [*fifty, *whole, "MODEL.SEM_SEG_HEAD.USE_DEPTHWISE_SEPARABLE_CONV", True],
            (48, 288),
        ),
        "v3plus_r50_os8_basic": (
            "v3_plus", [*fifty, *fine, *whole, "MODEL.RESNETS.STEM_TYPE", "basic",
                       "MODEL.RESNETS.STEM_OUT_CHANNELS", 64], (48, 288),
        ),
    }  # fmt: skip
    for name, (version, changes, size) in cases.items():
        cfg = configured(version, changes)
        yield name, lambda: Whole(cfg), {"size": size, "yaml": cfg.dump()}


def mmengine_file():
    """A checkpoint as mmengine's CheckpointHook writes it: history, metadata and tiny weights."""
    from mmengine.logging import MessageHub

    hub = MessageHub.get_instance("golden")
    for step in range(3):
        hub.update_scalar("train/loss", numpy.float64(0.5 / (step + 1)))
        hub.update_info("epoch", step)
    convolution = nn.Conv2d(3, 2, 1)
    torch.save(
        {
            "meta": {"epoch": 3, "time": "20260102", "dataset_meta": {"classes": ("a", "b")}},
            "state_dict": {f"conv.{key}": value for key, value in convolution.state_dict().items()},
            "message_hub": hub.state_dict(),
            "optimizer": torch.optim.SGD(convolution.parameters(), lr=0.1).state_dict(),
            "param_schedulers": [],
        },
        HERE / "mmengine-epoch_3.pth",
    )


@torch.no_grad()
def letterbox_file():
    """What bubbliiiing's own prediction shows its network, and the masks it makes of the answer."""
    import tempfile

    import deeplab
    from nets.deeplabv3_plus import DeepLab
    from PIL import Image
    from utils.utils import resize_image

    network = DeepLab(CLASSES, backbone="mobilenet", pretrained=False, downsample_factor=16)
    entries = [
        [key, list(value.shape), str(value.dtype).removeprefix("torch.")]
        for key, value in network.state_dict().items()
    ]
    pictures = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "best_epoch_weights.pth"
        torch.save(seeded_state(entries), path)
        predict = deeplab.DeeplabV3(
            model_path=str(path), num_classes=CLASSES, backbone="mobilenet", cuda=False
        )
        for size in ((120, 97), (61, 200), (540, 720)):
            photograph = Image.fromarray(seeded_photograph(*size))
            shown, width, height = resize_image(photograph, (512, 512))
            pixels = numpy.asarray(shown)[::37, ::37]
            mask = numpy.asarray(predict.get_miou_png(photograph))
            pictures.append(
                {"size": size, "resized": [height, width], "pixels": pixels.flatten().tolist(),
                 "mask": "".join(map(str, mask.flatten().tolist()))}
            )  # fmt: skip
    golden = {"keys": entries, "pictures": pictures}
    path = HERE / "letterbox.json.xz"
    path.write_bytes(lzma.compress(json.dumps(golden).encode(), preset=9))
    print(f"{path.name}: {path.stat().st_size} bytes")


PROJECTS = {
    "vainf": ("VainF/DeepLabV3Plus-Pytorch 4e1087de98bc49d55b9239ae92810ef7368660db", vainf),
    "jfzhang": (
        "jfzhang95/pytorch-deeplab-xception 9135e104a7a51ea9effa9c6676a2fcffe6a6a2e6", jfzhang,
    ),
    "bubbliiiing": (
        "bubbliiiing/deeplabv3-plus-pytorch 90dee2706938fa3a76e9bb8f5fcfbaf90517e08a", bubbliiiing,
    ),
    "smp": ("segmentation-models-pytorch 0.6.0 (PyPI)", smp),
    "torchvision": ("torchvision 0.29.2 (PyPI)", torchvision),
    "mmseg": ("mmsegmentation 1.2.2, mmcv-lite 2.1.0, mmengine 0.10.7 (PyPI)", mmsegmentation),
    "huggingface": ("transformers 5.23.0 (PyPI)", huggingface),
    "yudewang": (
        "YudeWang/deeplabv3plus-pytorch 64843da0d9cb14dbb0cd2775afda9c9ea8fffe53", yudewang,
    ),
    "kazuto": ("kazuto1011/deeplab-pytorch 4219467fa5de07985f834f1bd8c04c186dc8f6d8", kazuto),
    "chenxi": ("chenxi116/DeepLabv3.pytorch 046818d755f91169dbad141362b98178dd685447", chenxi),
    "detectron2": (
        "facebookresearch/detectron2 02b5c4e295e990042a714712c21dc79b731e8833", detectron2,
    ),
    "hualin": ("hualin95/Deeplab-v3plus 719bfc988e589a290d9348dc6d2a66043fc8f21a", hualin),
    "tramac": (
        "Tramac/awesome-semantic-segmentation-pytorch d37d2a17221d2681ad454958cf06a1065e9b1f7f",
        tramac,
    ),
}  # fmt: skip


@torch.no_grad()
def record(project, name, source, build, facts):
    network = build().eval()
    prefix = facts.pop("prefix", "")
    entries = [
        [key.removeprefix(prefix), list(value.shape), str(value.dtype).removeprefix("torch.")]
        for key, value in network.state_dict().items()
    ]
    network.load_state_dict({prefix + k: v for k, v in seeded_state(entries).items()})
    network.double()
    size = facts.pop("size", (48, 288) if project == "smp" else (49, 289))
    logits = first(network(seeded_picture(*size).double()))
    if tuple(logits.shape[2:]) != tuple(size):
        raise SystemExit(f"{project} {name}: answers {tuple(logits.shape)}")
    if logits.dtype != torch.float64:
        raise SystemExit(f"{project} {name}: answers in {logits.dtype}")
    rows, cols = sampled_points(*size)
    kept = logits[0][:, rows][:, :, cols]
    golden = {
        "project": project, "source": source, "size": size, **facts, "keys": entries,
        "logits": [float(f"{float(value):.11g}") for value in kept.flatten()],
    }  # fmt: skip
    path = HERE / f"{project}-{name}.json.xz"
    path.write_bytes(lzma.compress(json.dumps(golden).encode(), preset=9))
    print(f"{path.name}: {len(entries)} tensors, {path.stat().st_size} bytes, "
          f"logits {float(kept.std()):.3g}")  # fmt: skip


def main():
    project, *source = sys.argv[1:]
    sys.path[:0] = source
    if project == "mmseg":
        mmengine_file()
    if project == "bubbliiiing":
        letterbox_file()
    title, cases = PROJECTS[project]
    for name, build, facts in cases(source):
        record(project, name, title, build, facts)


if __name__ == "__main__":
    main()
