"""The pictures that enter the network for each view of a plan."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from maskmill.pipeline.pictures.reduction import Reduction
from maskmill.pipeline.views.geometry import flipped
from maskmill.pipeline.views.plan import ViewPlan, ViewSettings, network_size, plan_views
from maskmill.pipeline.views.preparation import NetworkPicture, prepare, resized_hw
from maskmill.pipeline.views.preprocessing import Preprocessing
from maskmill.schemas.arrays import RgbImage

SPARE = 2
"""How many pixels a reduced picture keeps along each side for one of the network's."""


def view_pictures(
    image: RgbImage,
    plan: ViewPlan,
    preprocessing: Preprocessing,
    *,
    image_size: int | None,
    alignment: str,
    reduction: Reduction | None = None,
) -> Iterator[NetworkPicture]:
    """One picture per window and scale of the plan, in its order; mirrored ones are not among them.

    A window's picture maps the window's own pixels, counted from its top left. A reduced picture,
    which ``reduction`` describes, has no windows.
    """
    for window, scale in plan.places():
        if reduction is not None:
            size = network_size(
                preprocessing,
                scale,
                image_size=image_size,
                alignment=alignment,
                size_hw=reduction.shown_hw,
            )
            yield prepare(image, preprocessing, image_size=size, reduction=reduction)
            continue
        part = image if window is None else np.ascontiguousarray(image[window.slices])
        size = network_size(
            preprocessing,
            scale,
            image_size=image_size,
            alignment=alignment,
            size_hw=(part.shape[0], part.shape[1]),
        )
        yield prepare(part, preprocessing, image_size=size)


def needed_size(
    size_hw: tuple[int, int],
    views: ViewSettings,
    preprocessing: Preprocessing,
    *,
    image_size: int | None,
    alignment: str,
) -> tuple[int, int]:
    """The least size of a picture of ``size_hw`` pixels that its views may be scaled from.

    SPARE times what enters the network at the largest scale; the whole where windows are cut.
    """
    plan = plan_views(size_hw, views)
    if plan.windows != (None,):
        return size_hw
    sizes = []
    for scale in plan.scales:
        size = network_size(
            preprocessing, scale, image_size=image_size, alignment=alignment, size_hw=size_hw
        )
        sizes.append(resized_hw(size_hw, preprocessing.sized(size)))
    return SPARE * max(size[0] for size in sizes), SPARE * max(size[1] for size in sizes)


def mirrored(picture: NetworkPicture) -> NetworkPicture:
    """The picture seen from the other side, left to right; padding stays at the right."""
    return replace(
        picture,
        pixels=np.ascontiguousarray(picture.pixels[:, ::-1]),
        cols=flipped(picture.cols, picture.pixels.shape[1]),
    )
