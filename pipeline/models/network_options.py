"""What users say of a network where weights do not: ``--network-option rates=6,12,18``."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from maskmill.pipeline.models.spec import Alignment, ModelSpec
from maskmill.schemas.errors import SettingsError

NAMES: Final = (
    "rates", "last_rates", "align_corners", "encoder", "pool_window", "norm_groups", "weight_std",
)  # fmt: skip
_EXAMPLES: Final = {
    "rates": "rates=6,12,18", "last_rates": "last_rates=2,4,8",
    "align_corners": "align_corners=true", "encoder": "encoder=tf_mobilenetv3_large",
    "pool_window": "pool_window=32,64", "norm_groups": "norm_groups=32",
    "weight_std": "weight_std=true",
}  # fmt: skip
_MAX_RATE: Final = 512
_TRUTH: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkOptions:
    """Settings of a network; None leaves one as it is.

    ``rates``: of the three atrous branches of ASPP. ``last_rates``: of the three units of the
    encoder's last stage, at output stride 16. ``align_corners``: of every upsampling. ``encoder``:
    which of several that the same weights fit. ``pool_window``: rows and columns of features that
    image pooling averages at once, (0, 0) for all. ``norm_groups``: of group norm. ``weight_std``:
    whether convolutions are standardised.
    """

    rates: tuple[int, ...] | None = None
    last_rates: tuple[int, ...] | None = None
    align_corners: bool | None = None
    encoder: str | None = None
    pool_window: tuple[int, int] | None = None
    norm_groups: int | None = None
    weight_std: bool | None = None

    def apply(self, options: dict[str, Any], alignment: Alignment) -> Alignment:
        """Change a builder's options in place; the alignment of logits that goes with them."""
        if self.rates is not None:
            options["aspp_rates"] = self.rates
        if self.last_rates is not None:
            options["last_rates"] = self.last_rates
            if "multi_grid" in options:
                options["multi_grid"] = None
        if self.pool_window is not None and "pool_window" in options:
            options["pool_window"] = self.pool_window if any(self.pool_window) else None
        if self.align_corners is None:
            return alignment
        if "align_corners" in options:
            options["align_corners"] = self.align_corners
        return "align_corners" if self.align_corners else "half_pixel"


def parse_network_options(texts: Sequence[str]) -> NetworkOptions:
    """``NAME=VALUE`` texts as settings; a later one of the same name counts.

    Raises:
        SettingsError: an unknown name or a value it cannot have.
    """
    options = NetworkOptions()
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip()
        if not equals or name not in NAMES:
            raise SettingsError(
                f"--network-option {text!r} is none of {', '.join(_EXAMPLES.values())}"
            )
        options = replace(options, **{name: _value(name, value.strip(), text)})
    return options


def with_network_options(spec: ModelSpec, wanted: NetworkOptions) -> ModelSpec:
    """A model of ours with other settings of its network; its weights fit as before.

    Raises:
        SettingsError: its network has no such setting.
    """
    if wanted == NetworkOptions():
        return spec
    options = dict(spec.options)
    if "encoder" not in options or wanted.encoder not in (None, options["encoder"]):
        raise SettingsError(
            f"--network-option does not apply to {spec.name}: its network is what it is"
        )
    alignment = wanted.apply(options, spec.alignment)
    if wanted.align_corners is not None and spec.grid_stride != spec.output_stride:
        options["align_corners"] = wanted.align_corners
    return replace(spec, options=tuple(options.items()), alignment=alignment)


def _value(name: str, value: str, text: str) -> Any:
    if name == "encoder":
        return value
    if name in ("align_corners", "weight_std"):
        if value.lower() not in _TRUTH:
            raise SettingsError(f"--network-option {text!r}: say true or false")
        return _TRUTH[value.lower()]
    try:
        numbers = tuple(int(one) for one in value.split(","))
    except ValueError:
        numbers = ()
    least = 0 if name == "pool_window" else 1
    count = {"pool_window": 2, "norm_groups": 1}.get(name, len(numbers) or 1)
    if len(numbers) != count or not all(least <= one <= _MAX_RATE for one in numbers):
        raise SettingsError(f"--network-option {text!r}: write it like {_EXAMPLES[name]}")
    return numbers[0] if name == "norm_groups" else numbers
