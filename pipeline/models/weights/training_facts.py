"""What a checkpoint leaves out of how its network was trained, as the user says it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Training:
    """What a checkpoint does not tell of how it was trained; None: not said."""

    output_stride: int | None = None
    atrous_rates: tuple[int, ...] | None = None
    multi_grid: tuple[int, ...] | None = None
