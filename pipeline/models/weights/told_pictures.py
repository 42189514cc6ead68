"""How a project's own configuration has pictures prepared: mean, deviation, colour order, size."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from torch import Tensor

from maskmill.pipeline.views.preprocessing import MIN_SIZE, Preprocessing

_RAW: Final = ((0.0,) * 3, (1.0,) * 3)
_MAX_SIDE: Final = 65_535

Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldPictures:
    """What a configuration says; None where it does not.

    ``mean`` and ``std`` are of values 0..255 in the order that the network sees, ``bgr`` says
    which. ``size_hw`` is the size that pictures are squeezed to; ``short`` and ``long`` are what
    their sides are scaled to, whichever is met first. ``remark``: what it says and is not done.
    """

    mean: Triple | None = None
    std: Triple | None = None
    bgr: bool | None = None
    short: int | None = None
    long: int | None = None
    size_hw: tuple[int, int] | None = None
    remark: str = ""

    def rule(self, default: Preprocessing) -> Preprocessing:
        """``default`` with what is told in its place; means in the order of RGB."""
        rule = default
        if self.mean is not None and self.std is not None:
            mean, std = (one[::-1] if self.bgr else one for one in (self.mean, self.std))
            rule = replace(rule, mean=mean, std=std)
        if self.short is not None and self.long is not None:
            return replace(rule, resize="shortest_side", size=self.short, limit=self.long)
        if self.size_hw is not None and self.size_hw[0] == self.size_hw[1]:
            return replace(rule, resize="exact", size=self.size_hw[0], limit=0)
        return rule


def mmseg_pictures(config: Mapping[str, Any]) -> ToldPictures | None:
    """Of mmsegmentation's configuration, 0.x (``img_norm_cfg``) or 1.x (``data_preprocessor``)."""
    told = _mmseg_normalisation(config)
    steps = list(_mmseg_steps(config))
    resize = next((step for step in steps if step.get("type") == "Resize"), {})
    scales = (step.get(key) for step in (resize, *steps) for key in ("scale", "img_scale"))
    scale = next((found for one in scales if (found := _pair(one)) is not None), None)
    if scale is not None and resize.get("keep_ratio") is not False:
        told = replace(told or ToldPictures(), short=min(scale), long=max(scale))
    elif scale is not None:  # mmcv's scales are (width, height)
        told = replace(told or ToldPictures(), size_hw=scale[::-1])
    remark = _mmseg_remark(config, told)
    return replace(told or ToldPictures(), remark=remark) if remark else told


def _mmseg_normalisation(config: Mapping[str, Any]) -> ToldPictures | None:
    old = config.get("img_norm_cfg")
    if isinstance(old, Mapping):
        return _normalisation(old.get("mean"), old.get("std"), old.get("to_rgb", True))
    model = config.get("model")
    new = model.get("data_preprocessor") if isinstance(model, Mapping) else None
    new = new if isinstance(new, Mapping) else config.get("data_preprocessor")
    if not isinstance(new, Mapping):
        return None
    if new.get("mean") is None:
        return ToldPictures(mean=_RAW[0], std=_RAW[1], bgr=new.get("bgr_to_rgb") is not True)
    return _normalisation(new.get("mean"), new.get("std"), new.get("bgr_to_rgb", False))


def _normalisation(mean: Any, std: Any, to_rgb: Any) -> ToldPictures | None:
    means, deviations = _triple(mean), _triple(std)
    if means is None or deviations is None or min(deviations) <= 0:
        return None
    return ToldPictures(mean=means, std=deviations, bgr=to_rgb is not True)


def _mmseg_steps(config: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The steps of its test pipeline, those inside MultiScaleFlipAug first."""
    steps = config.get("test_pipeline")
    for step in steps if isinstance(steps, Sequence) else ():
        if isinstance(step, Mapping):
            inner = step.get("transforms")
            yield from (
                one
                for one in (inner if isinstance(inner, Sequence) else ())
                if isinstance(one, Mapping)
            )
            yield step


def _mmseg_remark(config: Mapping[str, Any], told: ToldPictures | None) -> str:
    """What its configuration does to pictures and is not done here unless asked for."""
    if told is not None and told.size_hw is not None and told.size_hw[0] != told.size_hw[1]:
        height, width = told.size_hw
        return f"its own tests squeeze pictures to {width}x{height}, which is not done here"
    model = config.get("model")
    test = model.get("test_cfg") if isinstance(model, Mapping) else None
    crop = _pair(test.get("crop_size")) if isinstance(test, Mapping) else None
    if isinstance(test, Mapping) and test.get("mode") == "slide" and crop is not None:
        return (
            f"its own tests slide windows of {crop[1]}x{crop[0]} over pictures: "
            f"--window {max(crop)} for something alike"
        )
    return ""


def detectron_pictures(config: Mapping[str, Any]) -> ToldPictures | None:
    """Of detectron2's ``config.yaml``."""
    model, shown = config.get("MODEL"), config.get("INPUT")
    if not isinstance(model, Mapping) or not isinstance(shown, Mapping):
        return None
    to_rgb = shown.get("FORMAT", "BGR") != "BGR"
    told = _normalisation(model.get("PIXEL_MEAN"), model.get("PIXEL_STD"), to_rgb)
    sides = _pair((shown.get("MIN_SIZE_TEST"), shown.get("MAX_SIZE_TEST")))
    if sides is None:
        return told
    return replace(told or ToldPictures(), short=sides[0], long=sides[1])


def buffered_pictures(state: Mapping[str, Tensor]) -> ToldPictures | None:
    """Of the ``pixel_mean`` and ``pixel_std`` that detectron2 kept among weights until 2020.

    Their order is that of the colours: ImageNet's blue is the darkest channel, and its red the
    lightest.
    """
    mean, std = (
        [round(one, 4) for one in state[name].flatten().tolist()] if name in state else None
        for name in ("pixel_mean", "pixel_std")
    )
    told = _normalisation(mean, std, to_rgb=False)
    if told is None or told.mean is None:
        return None
    bgr = told.mean[0] < told.mean[2]
    order = "blue, green, red" if bgr else "red, green, blue"
    return replace(told, bgr=bgr, remark=f"the order of its pixel_mean is that of {order}")


def _triple(value: Any) -> Triple | None:
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 3:
        return None
    if not all(type(one) in (int, float) and math.isfinite(one) for one in value):
        return None
    return float(value[0]), float(value[1]), float(value[2])


def _pair(value: Any) -> tuple[int, int] | None:
    """Two sides that pictures may have."""
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:
        return None
    if not all(type(one) is int and MIN_SIZE <= one <= _MAX_SIDE for one in value):
        return None
    return value[0], value[1]
