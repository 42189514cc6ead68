"""Recipe: how a network is trained. Each setting says itself whether it decides what comes out."""

from dataclasses import dataclass
from typing import Literal

from maskmill.pipeline.pictures.decoding import MAX_PIXELS
from maskmill.pipeline.runs.identity import setting
from maskmill.schemas.errors import SettingsError

Optimiser = Literal["sgd", "adamw"]
Schedule = Literal["poly", "constant"]
BatchNorm = Literal["auto", "frozen", "train", "sync"]
Keep = Literal["level", "best"]
Resize = Literal["refuse", "nearest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What is asked for; None stands for what :mod:`defaults` makes of model, data and device.

    ``image_size`` is that of the new model's input rule, ``crop_size`` the side in pixels of what
    the network sees while it learns. ``scales`` are the smallest and largest factor on the size
    that the input rule gives. ``jitter`` is the largest relative change of brightness, contrast
    and saturation (of hue a quarter). ``head_rate`` multiplies the learning rate of the classifier.
    ``average`` is the decay of the moving average of the weights, 0 for none; validation and the
    result are of the average. ``clip`` bounds the norm of all gradients together, 0 for no bound.
    ``keep`` says which epoch is the result, see :mod:`kept_epoch`.
    ``patience`` ends after so many epochs without a better one, 0 never does. ``write`` names what
    is written beside the rows.
    """

    epochs: int | None = setting(None, decides=True)
    batch_size: int = setting(8, decides=True)
    image_size: int | None = setting(None, decides=True)
    crop_size: int | None = setting(None, decides=True)
    scales: tuple[float, float] = setting((0.5, 2.0), decides=True)
    flip: bool = setting(True, decides=True)
    jitter: float = setting(0.0, decides=True)
    loss: str = setting("ce", decides=True)
    class_weights: str = setting("none", decides=True)
    optimizer: Optimiser = setting("adamw", decides=True)
    learning_rate: float | None = setting(None, decides=True)
    momentum: float = setting(0.9, decides=True)
    weight_decay: float = setting(1e-4, decides=True)
    head_rate: float = setting(4.0, decides=True)
    schedule: Schedule = setting("poly", decides=True)
    power: float = setting(0.9, decides=True)
    warm_up: int | None = setting(None, decides=True)
    clip: float = setting(1.0, decides=True)
    average: float = setting(0.99, decides=True)
    batch_norm: BatchNorm = setting("auto", decides=True)
    resize: Resize = setting("refuse", decides=True)
    monitor: str = setting("miou", decides=True)
    keep: Keep = setting("level", decides=True)
    patience: int = setting(0, decides=True)
    seed: int = setting(0, decides=True)
    max_pixels: int = setting(MAX_PIXELS, decides=True)
    write: tuple[str, ...] = setting((), decides=False)  # beside the rows
    precision: str = setting("auto", decides=False)  # what it resolves to is in the identity
    threads: int | None = setting(None, decides=False)  # so is this

    def __post_init__(self) -> None:
        low, high = self.scales
        if not 0 < low <= high <= 8:
            raise SettingsError(
                f"--scales {low:g},{high:g}: give the smallest and the largest factor, as 0.5,2"
            )
