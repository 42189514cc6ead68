"""The files of a Hugging Face folder, for the networks that transformers has too.

That is TensorFlow's DeepLabv3 on MobileNetV2: MobileNetV2ForSemanticSegmentation (transformers
5.23, configuration_mobilenet_v2.py and image_processing_mobilenet_v2.py).
"""

from collections.abc import Mapping
from typing import Any, Final

from torch import Tensor, nn

from maskmill.pipeline.models.networks.tf_mobilenetv2 import WIDTHS_X10, TfMobileNetV2DeepLab
from maskmill.pipeline.models.spec import ModelSpec, labels_of
from maskmill.pipeline.models.weights.huggingface import LAST_CHANNELS, written

MIN_DEPTH: Final = 8
_ASPP_CHANNELS: Final = 256


def without_counterpart(network: nn.Module) -> str:
    """Why transformers cannot load the network; '' where it can."""
    if not isinstance(network, TfMobileNetV2DeepLab):
        return "transformers has no such network"
    layout = network.layout
    if layout.decoder or layout.rounded or layout.aspp_channels != _ASPP_CHANNELS:
        return "transformers has this network without decoder, int8 grids and other ASPP widths"
    if layout.hidden or _divisor(layout.widths) is None:
        return f"transformers cannot make the widths {layout.widths} of one multiplier"
    return ""


def transformers_state(network: nn.Module) -> Mapping[str, Tensor]:
    """Content of model.safetensors."""
    return written(network.state_dict())


def transformers_config(network: nn.Module, spec: ModelSpec) -> dict[str, Any]:
    """Content of config.json, of a network that :func:`without_counterpart` says nothing of."""
    if not isinstance(network, TfMobileNetV2DeepLab):
        raise TypeError(without_counterpart(network))
    layout, labels = network.layout, labels_of(spec)
    multiplier = layout.widths[0] / WIDTHS_X10[0]
    return {
        "architectures": ["MobileNetV2ForSemanticSegmentation"],
        "model_type": "mobilenet_v2",
        "num_channels": 3,
        "image_size": spec.preprocessing.size,
        "depth_multiplier": multiplier,
        "depth_divisible_by": _divisor(layout.widths),
        "min_depth": MIN_DEPTH,
        "expand_ratio": 6,
        "output_stride": layout.output_stride,
        "first_layer_is_expansion": True,
        "finegrained_output": multiplier < 1,
        "hidden_act": "relu6",
        "tf_padding": True,
        "classifier_dropout_prob": 0.1,
        "layer_norm_eps": 0.001,
        "semantic_loss_ignore_index": labels.ignore_index,
        "id2label": {str(index): name for index, name in enumerate(labels.names)},
        "label2id": {name: index for index, name in enumerate(labels.names)},
    }


def transformers_processor(spec: ModelSpec) -> dict[str, Any]:
    """Content of preprocessor_config.json: scaling to the input size is left to the user."""
    rule = spec.preprocessing
    return {
        "image_processor_type": "MobileNetV2ImageProcessor",
        "do_resize": False,
        "do_center_crop": False,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [value / 255 for value in rule.mean],
        "image_std": [value / 255 for value in rule.std],
    }


def _divisor(widths: tuple[int, ...]) -> int | None:
    """What widths are rounded to multiples of, where one multiplier makes them all."""
    multiplier = widths[0] / WIDTHS_X10[0]
    if multiplier > 1 and round(LAST_CHANNELS * multiplier) != LAST_CHANNELS:
        return None
    for divisor in (8, 4, 2, 1):
        if tuple(_divisible(round(one * multiplier), divisor) for one in WIDTHS_X10) == widths:
            return divisor
    return None


def _divisible(value: int, divisor: int) -> int:
    """The nearest multiple, at least MIN_DEPTH and not a tenth smaller than the value."""
    nearest = max(MIN_DEPTH, (value + divisor // 2) // divisor * divisor)
    return nearest + divisor if nearest < 0.9 * value else nearest
