"""Encoders' own names for their layers, turned into those of the encoders here.

Each function takes a state dict whose encoder begins with ``encoder.`` and returns it renamed; what
a function does not know it leaves as it is, to be refused where it does not fit.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final

from torch import Tensor

from maskmill.schemas.errors import ModelError

State = dict[str, Tensor]
Rename = Callable[[Mapping[str, Tensor]], State]

_BLOCKS: Final = tuple(  # (stage, unit) of MobileNetV2's blocks in order; Sandler et al. 2018
    (stage, unit) for stage, units in enumerate((1, 2, 3, 4, 3, 3, 1)) for unit in range(units)
)
_STEM: Final = {"0": "conv_stem", "1": "bn1"}
_FIRST: Final = (
    {"conv.0.0": "conv_dw", "conv.0.1": "bn1", "conv.1": "conv_pw", "conv.2": "bn2"},
    {"conv.0": "conv_dw", "conv.1": "bn1", "conv.3": "conv_pw", "conv.4": "bn2"},
)
_LATER: Final = (
    {"conv.0.0": "conv_pw", "conv.0.1": "bn1", "conv.1.0": "conv_dw", "conv.1.1": "bn2",
     "conv.2": "conv_pwl", "conv.3": "bn3"},
    {"conv.0": "conv_pw", "conv.1": "bn1", "conv.3": "conv_dw", "conv.4": "bn2",
     "conv.6": "conv_pwl", "conv.7": "bn3"},
)  # fmt: skip
_HEAD_BLOCK: Final = 18

_EFFICIENTNETS: Final = {  # blocks altogether -> blocks in each stage; Tan and Le 2019
    16: (1, 2, 2, 3, 3, 4, 1), 23: (2, 3, 3, 4, 4, 5, 2), 26: (2, 3, 3, 5, 5, 6, 2),
    32: (2, 4, 4, 6, 6, 8, 2),
}  # fmt: skip
_EFFICIENT_LATER: Final = {
    "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
    "_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand", "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}  # fmt: skip
_EFFICIENT_FIRST: Final = {
    "_depthwise_conv": "conv_dw", "_bn1": "bn1", "_se_reduce": "se.conv_reduce",
    "_se_expand": "se.conv_expand", "_project_conv": "conv_pw", "_bn2": "bn2",
}  # fmt: skip


def mobilenet_to_timm(state: Mapping[str, Tensor]) -> State:
    """``mobilenet.N.…`` (a flat list of MobileNetV2 blocks) as timm's stages.

    Both ways of nesting convolution, norm and ReLU6 are known: torchvision's, where each is a
    Sequential of three, and the older one where a block is one Sequential.
    """
    nested = not any(re.fullmatch(r"mobilenet\.2\.conv\.[67]\.\w+", key) for key in state)
    headed = any(key.startswith(f"mobilenet.{_HEAD_BLOCK}.") for key in state)
    body = "encoder.body." if headed else "encoder."
    return {_mobilenet_name(key, body, nested=nested): value for key, value in state.items()}


def _mobilenet_name(key: str, body: str, *, nested: bool) -> str:
    found = re.fullmatch(r"mobilenet\.(\d+)\.(.+)\.(\w+)", key)
    if found is None or int(found[1]) > _HEAD_BLOCK:
        return key
    index, layer, value = int(found[1]), found[2], found[3]
    if index == _HEAD_BLOCK:
        return f"encoder.head.{layer}.{value}"
    if index == 0:
        return f"{body}{_STEM.get(layer, layer)}.{value}"
    stage, unit = _BLOCKS[index - 1]
    children = (_FIRST if index == 1 else _LATER)[0 if nested else 1]
    return f"{body}blocks.{stage}.{unit}.{children.get(layer, layer)}.{value}"


def efficientnet_to_timm(state: Mapping[str, Tensor]) -> State:
    """``encoder._blocks.N.…`` (efficientnet_pytorch's names) as timm's stages.

    The classifier's convolution is left out: no feature comes from it.

    Raises:
        ModelError: another number of blocks than those of b0 to b4.
    """
    numbers = {int(key.split(".")[2]) for key in state if key.startswith("encoder._blocks.")}
    if len(numbers) not in _EFFICIENTNETS:
        raise ModelError(
            f"its encoder is an EfficientNet of {len(numbers)} blocks, none of b0 to b4, which are "
            "known: train with one of those"
        )
    places = [
        (stage, unit)
        for stage, units in enumerate(_EFFICIENTNETS[len(numbers)])
        for unit in range(units)
    ]
    top = {"_conv_stem": "conv_stem", "_bn0": "bn1"}
    renamed = {}
    for key, value in state.items():
        parts = key.split(".")
        if parts[:2] == ["encoder", "_blocks"]:
            stage, unit = places[int(parts[2])]
            children = _EFFICIENT_LATER if stage else _EFFICIENT_FIRST
            name = children.get(parts[3], parts[3])
            renamed[f"encoder.blocks.{stage}.{unit}.{name}.{parts[-1]}"] = value
        elif parts[0] == "encoder" and parts[1] in top:
            renamed[f"encoder.{top[parts[1]]}.{parts[-1]}"] = value
        elif parts[0] != "encoder" or parts[1] not in ("_conv_head", "_bn1"):
            renamed[key] = value
    return renamed


def mmseg_mobilenet_to_timm(state: Mapping[str, Tensor]) -> State:
    """``encoder.layerS.U.conv.I.conv`` (mmsegmentation's MobileNetV2) as timm's stages."""
    kinds = {"conv": ("conv_pw", "conv_dw", "conv_pwl"), "bn": ("bn1", "bn2", "bn3")}
    first = {"conv": ("conv_dw", "conv_pw"), "bn": ("bn1", "bn2")}

    def renamed(key: str) -> str:
        found = re.fullmatch(r"encoder\.layer(\d)\.(\d)\.conv\.(\d)\.(conv|bn)\.(\w+)", key)
        if found is None:
            key = key.replace("encoder.conv1.conv.", "encoder.conv_stem.")
            return key.replace("encoder.conv1.bn.", "encoder.bn1.")
        stage, unit, place = int(found[1]) - 1, found[2], int(found[3])
        name = (kinds if stage else first)[found[4]][place]
        return f"encoder.blocks.{stage}.{unit}.{name}.{found[5]}"

    return {renamed(key): value for key, value in state.items()}


def repeated_xception(state: Mapping[str, Tensor]) -> State:
    """``encoder.blockN.rep.K.…`` (Cadene's Xception and what follows it) as blocks of units.

    K counts ReLUs too; the separable convolutions among them are the units, and the norm after one
    is that unit's.
    """
    starts: dict[int, list[int]] = {}
    for key in state:
        found = re.fullmatch(r"encoder\.block(\d+)\.rep\.(\d+)\.pointwise\.weight", key)
        if found:
            starts.setdefault(int(found[1]), []).append(int(found[2]))

    def renamed(key: str) -> str:
        found = re.fullmatch(r"encoder\.block(\d+)\.rep\.(\d+)\.(.+)", key)
        if found is None:
            return _xception_name(key)
        block, place, rest = int(found[1]), int(found[2]), found[3]
        unit = sum(start <= place for start in starts[block]) - 1
        layer = f"encoder.blocks.{block - 1}.units.{unit}"
        return f"{layer}.{_separable(rest)}" if place in starts[block] else f"{layer}.norm.{rest}"

    return {renamed(key): value for key, value in state.items()}


def tapped_xception(state: Mapping[str, Tensor]) -> State:
    """``encoder.blockN.sepconvU.…`` (YudeWang's Xception) as blocks of units."""
    layers = {"depthwise": "depthwise", "bn1": "depthwise_norm", "pointwise": "conv", "bn2": "norm"}

    def renamed(key: str) -> str:
        found = re.fullmatch(r"encoder\.block(\d+)\.sepconv(\d)\.(\w+)\.(\w+)", key)
        if found:
            place = f"encoder.blocks.{int(found[1]) - 1}.units.{int(found[2]) - 1}"
            return f"{place}.{layers[found[3]]}.{found[4]}"
        found = re.fullmatch(r"encoder\.conv([345])\.(\w+)\.(\w+)", key)
        if found:
            return f"encoder.exits.{int(found[1]) - 3}.{layers[found[2]]}.{found[3]}"
        return _xception_name(key)

    return {renamed(key): value for key, value in state.items()}


def _separable(rest: str) -> str:
    names = {"conv1": "depthwise", "bn": "depthwise_norm", "pointwise": "conv"}
    layer, _, value = rest.partition(".")
    return f"{names.get(layer, layer)}.{value}"


def _xception_name(key: str) -> str:
    """Stem, shortcuts and exits of an Xception."""
    key = re.sub(
        r"^encoder\.conv([12])\.weight", lambda m: f"encoder.stem.{3 * int(m[1]) - 3}.weight", key
    )
    key = re.sub(r"^encoder\.bn([12])\.", lambda m: f"encoder.stem.{3 * int(m[1]) - 2}.", key)
    key = re.sub(
        r"^encoder\.block(\d+)\.skip(bn)?\.",
        lambda m: f"encoder.blocks.{int(m[1]) - 1}.shortcut.{1 if m[2] else 0}.", key,
    )  # fmt: skip
    key = re.sub(r"^encoder\.bn([345])\.", lambda m: f"encoder.exits.{int(m[1]) - 3}.norm.", key)
    found = re.fullmatch(r"encoder\.conv([345])\.(.+)", key)
    return f"encoder.exits.{int(found[1]) - 3}.{_separable(found[2])}" if found else key


def caffe_resnet(state: Mapping[str, Tensor]) -> State:
    """``encoder.layerL.blockB.reduce.conv`` (kazuto1011's ResNet) as timm's."""
    layers = {"reduce": ("conv1", "bn1"), "conv3x3": ("conv2", "bn2"), "increase": ("conv3", "bn3"),
              "shortcut": ("downsample.0", "downsample.1")}  # fmt: skip

    def renamed(key: str) -> str:
        found = re.fullmatch(r"encoder\.layer(\d)\.block(\d+)\.(\w+)\.(conv|bn)\.(\w+)", key)
        if found:
            name = layers[found[3]][found[4] == "bn"]
            return f"encoder.layer{int(found[1]) - 1}.{int(found[2]) - 1}.{name}.{found[5]}"
        key = key.replace("encoder.layer1.conv1.conv.", "encoder.conv1.")
        return key.replace("encoder.layer1.conv1.bn.", "encoder.bn1.")

    return {renamed(key): value for key, value in state.items()}


def detectron_resnet(state: Mapping[str, Tensor]) -> State:
    """``encoder.resL.B.convI.norm`` (detectron2's ResNet) as timm's; its stem is deep or plain."""
    deep = any(key.startswith("encoder.stem.conv3.") for key in state)
    convolutions = {"conv1": "conv1.0", "conv2": "conv1.3", "conv3": "conv1.6"}
    norms = {"conv1": "conv1.1", "conv2": "conv1.4", "conv3": "bn1"}
    plain = {"conv1": "conv1"}, {"conv1": "bn1"}

    def renamed(key: str) -> str:
        found = re.fullmatch(r"encoder\.stem\.(conv\d)(\.norm)?\.(\w+)", key)
        if found:
            names = ((convolutions, norms) if deep else plain)[found[2] is not None]
            return f"encoder.{names.get(found[1], found[1])}.{found[3]}"
        found = re.fullmatch(r"encoder\.res(\d)\.(\d+)\.(conv\d|shortcut)(\.norm)?\.(\w+)", key)
        if found is None:
            return key
        name = found[3].replace("shortcut", "downsample.0")
        if found[4]:
            name = name.replace("downsample.0", "downsample.1").replace("conv", "bn")
        return f"encoder.layer{int(found[1]) - 1}.{found[2]}.{name}.{found[5]}"

    return {renamed(key): value for key, value in state.items()}


def encoder_names(state: Mapping[str, Tensor]) -> State:
    """The encoder's layers by their names here, whichever of the known ways they are named."""
    state = dict(state)
    for signature, rename in _KNOWN:
        if any(re.match(signature, key) for key in state):
            state = rename(state)
    return state


_KNOWN: Final[tuple[tuple[str, Rename], ...]] = (
    (r"mobilenet\.", mobilenet_to_timm),
    (r"encoder\._blocks\.", efficientnet_to_timm),
    (r"encoder\.layer1\.0\.conv\.0\.conv\.", mmseg_mobilenet_to_timm),
    (r"encoder\.block1\.rep\.", repeated_xception),
    (r"encoder\.block1\.sepconv1\.", tapped_xception),
    (r"encoder\.layer2\.block1\.reduce\.", caffe_resnet),
    (r"encoder\.res2\.0\.", detectron_resnet),
)
