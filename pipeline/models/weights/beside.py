"""What training loops write down beside weights: settings as plain values, read and never run.

argparse's ``args`` (torchvision and many), Lightning's ``hyper_parameters``, mmengine's
``meta.cfg`` (a Python file as text, of which literals are read), ``config.json`` in the folder of a
Hugging Face model, and ``config.yaml`` in that of a run of detectron2.
"""

import ast
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from maskmill.pipeline.models.weights.told_pictures import (
    ToldPictures,
    detectron_pictures,
    mmseg_pictures,
)
from maskmill.schemas.errors import SettingsError
from maskmill.schemas.label_documents import parse_yaml

_SETTINGS: Final = ("args", "hyper_parameters", "hparams", "config", "cfg", "opt")
_STRIDE_KEYS: Final = (
    "output_stride", "out_stride", "encoder_output_stride", "downsample_factor", "os",
)  # fmt: skip
_RATE_KEYS: Final = ("decoder_atrous_rates", "atrous_rates", "aspp_rates")
_ENCODER_KEYS: Final = ("encoder_name", "backbone")
_HUB_FILES: Final = ("model.safetensors", "pytorch_model.bin")
_DETECTRON_FILE: Final = "config.yaml"
_MAX_CONFIG: Final = 1_000_000
_MAX_NAMES: Final = 65_534


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the values beside weights tell; None where they do not.

    ``source`` names where it was read. ``last_rates`` are those of the encoder's last stage.
    ``pool_window``: rows and columns of features that image pooling averages, (0, 0) for all.
    ``strides_first``: strides on the first 1x1 of a bottleneck, in place of its 3x3.
    """

    source: str = ""
    output_stride: int | None = None
    rates: tuple[int, ...] | None = None
    last_rates: tuple[int, ...] | None = None
    align_corners: bool | None = None
    encoder: str | None = None
    class_names: tuple[str, ...] = ()
    palette: tuple[tuple[int, int, int], ...] = ()
    tf_padding: bool | None = None
    pool_window: tuple[int, int] | None = None
    strides_first: bool | None = None
    weight_std: bool | None = None
    pictures: ToldPictures | None = None


def told_beside(beside: Mapping[str, Any], path: Path | None = None) -> Told:
    """What plain values (and a config.json beside the file) tell of a network."""
    told = Told()
    meta = beside.get("meta")
    if isinstance(meta, Mapping):
        told = _from_meta(meta)
    for name in _SETTINGS:
        settings = beside.get(name)
        if isinstance(settings, Mapping):
            told = _merged(told, _from_settings(settings, name))
    hub = _config_beside(path, "config.json") if path and path.name in _HUB_FILES else None
    if hub is not None:
        told = _merged(told, _from_settings(hub, "config.json"))
    detectron = _config_beside(path, _DETECTRON_FILE)
    return told if detectron is None else _merged(told, _from_detectron(detectron))


def _merged(first: Told, second: Told) -> Told:
    filled = {
        field: getattr(second, field)
        for field in Told.__slots__
        if getattr(first, field) in (None, "", ()) and getattr(second, field) not in (None, "", ())
    }
    return replace(first, **filled)


def _from_settings(settings: Mapping[str, Any], source: str) -> Told:
    """Flat settings, and those nested one deep (``config.model.…``)."""
    flat = dict(_flattened(settings))
    names = _class_names(flat.get("id2label") or flat.get("classes") or flat.get("class_names"))
    told = Told(
        output_stride=_stride(_first(flat, _STRIDE_KEYS)),
        rates=_numbers(_first(flat, _RATE_KEYS)),
        encoder=_word(_first(flat, _ENCODER_KEYS)),
        class_names=names,
        tf_padding=_truth(flat.get("tf_padding")),
        weight_std=_truth(flat.get("weight_std")),
    )
    return told if told == Told() else replace(told, source=source)


def _flattened(settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, Mapping) and key != "id2label":
            yield from ((str(one), inner) for one, inner in value.items())
        yield str(key), value


def _from_meta(meta: Mapping[str, Any]) -> Told:
    """mmsegmentation's: classes and palette, and the configuration as text."""
    data = meta.get("dataset_meta")
    data = data if isinstance(data, Mapping) else meta
    names = _class_names(data.get("classes") or data.get("CLASSES"))
    palette = _palette(data.get("palette") or data.get("PALETTE"), len(names))
    config = _literals(meta.get("cfg") or meta.get("config"))
    model = config.get("model", {})
    head, backbone = _part(model, "decode_head"), _part(model, "backbone")
    rates = _numbers(head.get("dilations"))
    align = head.get("align_corners")
    told = Told(
        output_stride=_mmseg_stride(backbone),
        rates=rates[1:] if rates and rates[0] == 1 else rates,
        last_rates=_mmseg_last_rates(backbone),
        align_corners=align if isinstance(align, bool) else None,
        class_names=names,
        palette=palette,
        strides_first=backbone.get("style") == "caffe" if backbone else None,
        pictures=mmseg_pictures(config),
    )
    return told if told == Told() else replace(told, source="meta")


def _from_detectron(config: Mapping[str, Any]) -> Told:
    """What detectron2 writes beside the checkpoints of a run."""
    model = config.get("MODEL")
    resnet, head = _part(model, "RESNETS"), _part(model, "SEM_SEG_HEAD")
    if not resnet or not head:
        return Told()
    rate = resnet.get("RES5_DILATION")
    stride = {2: 16, 4: 8}.get(rate) if type(rate) is int else None
    grid = _numbers(resnet.get("RES5_MULTI_GRID"))
    return Told(
        source=_DETECTRON_FILE,
        output_stride=stride,
        rates=_numbers(head.get("ASPP_DILATIONS")),
        last_rates=None if grid is None else tuple(2 * factor for factor in grid),
        pool_window=_detectron_window(config, stride),
        strides_first=_truth(resnet.get("STRIDE_IN_1X1")),
        pictures=detectron_pictures(config),
    )


def _detectron_window(config: Mapping[str, Any], stride: int | None) -> tuple[int, int] | None:
    """Image pooling there averages as much as a training crop has; all, where none is cut."""
    crop = _part(config.get("INPUT"), "CROP")
    size = _numbers(crop.get("SIZE"))
    if crop.get("ENABLED") is False:
        return 0, 0
    if size is None or len(size) != 2 or stride is None:
        return None
    return size[0] // stride, size[1] // stride


def _part(model: Any, name: str) -> Mapping[str, Any]:
    part = model.get(name) if isinstance(model, Mapping) else None
    return part if isinstance(part, Mapping) else {}


def _mmseg_stride(backbone: Mapping[str, Any]) -> int | None:
    strides = _numbers(backbone.get("strides"))
    if strides is None:
        return None
    product = 2 if len(strides) > 4 else 4  # MobileNetV2's stem, ResNet's stem and pool
    for stride in strides:
        product *= stride
    return product if product in (8, 16) else None


def _mmseg_last_rates(backbone: Mapping[str, Any]) -> tuple[int, ...] | None:
    """Multi-grid there is in pixels of the last stage, here in those at output stride 16."""
    grid, stride = _numbers(backbone.get("multi_grid")), _mmseg_stride(backbone)
    if grid is None or stride is None:
        return None
    return tuple(rate * stride // 16 for rate in grid)


def _literals(text: Any) -> dict[str, Any]:
    """Top-level names of a Python configuration whose values are literals or ``dict(…)``."""
    if not isinstance(text, str) or len(text) > _MAX_CONFIG:
        return {}
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    return {
        target.id: _literal(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _literal(node: ast.expr) -> Any:
    """The value of an expression of constants; None where it is anything else."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
        return {word.arg: _literal(word.value) for word in node.keywords if word.arg}
    if isinstance(node, ast.Dict):
        return {
            key.value: _literal(value)
            for key, value in zip(node.keys, node.values, strict=True)
            if isinstance(key, ast.Constant)
        }
    if isinstance(node, ast.List | ast.Tuple):
        return [_literal(one) for one in node.elts]
    return node.value if isinstance(node, ast.Constant) else None


def _config_beside(path: Path | None, name: str) -> Mapping[str, Any] | None:
    if path is None:
        return None
    config = path.with_name(name)
    try:
        if not config.is_file() or config.stat().st_size > _MAX_CONFIG:
            return None
        text = config.read_text(encoding="utf-8")
        found = parse_yaml(text, name) if config.suffix == ".yaml" else json.loads(text)
    except (OSError, ValueError, RecursionError, SettingsError):
        return None
    return found if isinstance(found, Mapping) else None


def _truth(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _first(settings: Mapping[str, Any], keys: Sequence[str]) -> Any:
    return next((settings[key] for key in keys if settings.get(key) is not None), None)


def _stride(value: Any) -> int | None:
    return value if value in (8, 16) and not isinstance(value, bool) else None


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _numbers(value: Any) -> tuple[int, ...] | None:
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        return None
    return tuple(value) if all(type(one) is int and one > 0 for one in value) else None


def _class_names(value: Any) -> tuple[str, ...]:
    """A list of names, or ``{"0": name}``; unnamed placeholders are no names."""
    if isinstance(value, Mapping):
        try:
            value = [value[key] for key in sorted(value, key=int)]
        except (TypeError, ValueError):
            return ()
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) > _MAX_NAMES:
        return ()
    names = tuple(value)
    if not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
        return ()
    return () if all(name == f"LABEL_{place}" for place, name in enumerate(names)) else names


def _palette(value: Any, count: int) -> tuple[tuple[int, int, int], ...]:
    if not isinstance(value, Sequence) or len(value) != count:
        return ()
    colors = [tuple(color) for color in value if isinstance(color, Sequence)]
    good = all(
        len(color) == 3 and all(type(one) is int and 0 <= one < 256 for one in color)
        for color in colors
    )
    return tuple((c[0], c[1], c[2]) for c in colors) if good and len(colors) == count else ()
