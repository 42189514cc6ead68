"""The pictures that enter the network for each view of a plan."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from maskmill.pipeline.views.geometry import flipped
from maskmill.pipeline.views.plan import ViewPlan, network_size
from maskmill.pipeline.views.preparation import NetworkPicture, prepare
from maskmill.pipeline.views.preprocessing import Preprocessing
from maskmill.schemas.arrays import RgbImage


def view_pictures(
    image: RgbImage,
    plan: ViewPlan,
    preprocessing: Preprocessing,
    *,
    image_size: int | None,
    alignment: str,
) -> Iterator[NetworkPicture]:
    """One picture per window and scale of the plan, in its order; mirrored ones are not among them.

    A window's picture maps the window's own pixels, counted from its top left.
    """
    for window, scale in plan.places():
        part = image if window is None else np.ascontiguousarray(image[window.slices])
        size = network_size(
            preprocessing,
            scale,
            image_size=image_size,
            alignment=alignment,
            size_hw=(part.shape[0], part.shape[1]),
        )
        yield prepare(part, preprocessing, image_size=size)


def mirrored(picture: NetworkPicture) -> NetworkPicture:
    """The picture seen from the other side, left to right; padding stays at the right."""
    return replace(
        picture,
        pixels=np.ascontiguousarray(picture.pixels[:, ::-1]),
        cols=flipped(picture.cols, picture.pixels.shape[1]),
    )
