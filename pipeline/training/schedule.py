"""The learning rate over the steps, as a factor on the rate that was asked for."""

from maskmill.schemas.errors import SettingsError


def rate_factor(
    step: int, total: int, *, schedule: str = "poly", power: float = 0.9, warm_up: int = 0
) -> float:
    """The factor at ``step`` (from 0) of ``total`` steps, in (0, 1].

    ``poly``: (1 - step / total) ** power, as in DeepLab (Chen et al. 2017, "DeepLab: Semantic
    Image Segmentation with Deep Convolutional Nets, Atrous Convolution, and Fully Connected CRFs",
    4.1.1), which has it from ParseNet (Liu et al. 2015). ``constant``: 1. Over the first
    ``warm_up`` steps the factor is multiplied by (step + 1) / warm_up (Goyal et al. 2017,
    "Accurate, Large Minibatch SGD", 2.2: gradual warm-up).

    Raises:
        SettingsError: a schedule of another name.
        ValueError: a step outside 0..total - 1.
    """
    if not 0 <= step < total:
        raise ValueError(f"step {step} is none of {total}")
    if schedule not in ("poly", "constant"):
        raise SettingsError(f"no schedule {schedule!r}; there are: poly, constant")
    factor = (1 - step / total) ** power if schedule == "poly" else 1.0
    return factor * min(1.0, (step + 1) / warm_up) if warm_up else factor
