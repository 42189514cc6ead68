"""The networks of which TensorFlow DeepLab's own code made goldens; plain data."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Case:
    """One network: the flags its authors' code was given, and the picture it was shown.

    ``flags`` are those of deeplab/common.py and export_model.py that differ from their defaults.
    ``momentum``: the checkpoint holds what a training run keeps beside the weights.
    """

    name: str
    flags: dict[str, object]
    picture_hw: tuple[int, int]
    momentum: bool = False


_ASPP16 = {"atrous_rates": [6, 12, 18], "output_stride": 16}
_ASPP8 = {"atrous_rates": [12, 24, 36], "output_stride": 8}
_PLUS = {"decoder_output_stride": ["4"]}


def _flags(variant: str, classes: int, crop: tuple[int, int], **more: object) -> dict[str, object]:
    return {
        "model_variant": variant,
        "num_classes": classes,
        "crop_size": list(crop),
        "output_stride": 16,
        "atrous_rates": None,
        **more,
    }


CASES = (
    Case(
        name="mobilenetv2",
        flags=_flags("mobilenet_v2", 21, (65, 65)),
        picture_hw=(65, 65),
        momentum=True,
    ),
    Case(
        name="mobilenetv2_x075_os8",
        flags=_flags("mobilenet_v2", 19, (66, 66), output_stride=8, depth_multiplier=0.75),
        picture_hw=(50, 66),
    ),
    Case(
        name="mobilenetv2_plus",
        flags=_flags("mobilenet_v2", 151, (65, 65), **_ASPP16, **_PLUS),
        picture_hw=(65, 40),
    ),
    Case(
        name="mobilenetv2_plain_convolutions",
        flags=_flags(
            "mobilenet_v2",
            5,
            (65, 65),
            **_ASPP16,
            **_PLUS,
            aspp_with_separable_conv=False,
            decoder_use_separable_conv=False,
            aspp_convs_filters=64,
            decoder_filters=32,
            depth_multiplier=0.35,
        ),
        picture_hw=(65, 65),
    ),
    Case(
        name="mobilenetv2_x14_no_pooling",
        flags=_flags(
            "mobilenet_v2", 19, (65, 97), add_image_level_feature=False, depth_multiplier=1.4
        ),
        picture_hw=(49, 97),
    ),
    Case(
        name="mobilenetv2_logits_only",
        flags=_flags(
            "mobilenet_v2",
            3,
            (65, 65),
            aspp_with_batch_norm=False,
            add_image_level_feature=False,
            depth_multiplier=0.5,
        ),
        picture_hw=(65, 65),
    ),
    Case(
        name="xception41_plus",
        flags=_flags("xception_41", 21, (65, 65), **_ASPP16, **_PLUS),
        picture_hw=(65, 65),
    ),
    Case(
        name="xception65_plus",
        flags=_flags("xception_65", 21, (65, 65), **_ASPP16, **_PLUS),
        picture_hw=(65, 65),
    ),
    Case(
        name="xception65_plus_os8_even",
        flags=_flags("xception_65", 151, (64, 64), **_ASPP8, **_PLUS, multi_grid=[1, 2, 4]),
        picture_hw=(64, 48),
    ),
    Case(
        name="xception71_plus_pooling_window",
        flags=_flags(
            "xception_71",
            19,
            (65, 129),
            **_ASPP16,
            **_PLUS,
            image_pooling_crop_size=["49", "49"],
        ),
        picture_hw=(65, 129),
    ),
    Case(
        name="resnet50_beta",
        flags=_flags("resnet_v1_50_beta", 21, (65, 65), **_ASPP16, multi_grid=[1, 2, 4]),
        picture_hw=(65, 65),
    ),
    Case(
        name="resnet101_beta_plus_os8_even",
        flags=_flags("resnet_v1_101_beta", 19, (66, 66), **_ASPP8, **_PLUS, multi_grid=[1, 2, 4]),
        picture_hw=(66, 50),
    ),
    Case(
        name="resnet50_plus",
        flags=_flags("resnet_v1_50", 21, (66, 66), **_ASPP16, **_PLUS),
        picture_hw=(40, 66),
    ),
)
