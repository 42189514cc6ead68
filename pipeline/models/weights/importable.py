"""Files that `models import` takes -> the network in them, with all that a card must say of it."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import Tensor

from maskmill.pipeline.models.weights.checkpoint_file import index_path
from maskmill.pipeline.models.weights.state import read_graph
from maskmill.pipeline.models.weights.tf_deeplab_file import (
    TfDeepLabFile,
    read_deeplab_checkpoint,
    read_deeplab_graph,
)
from maskmill.pipeline.models.weights.tf_import import graph_to_network
from maskmill.pipeline.models.weights.training_facts import Training
from maskmill.schemas.errors import ModelError, SettingsError

DEFAULT_SIZE = 513
_TAKEN = (
    "of TensorFlow, `models import` takes DeepLab's frozen_inference_graph.pb, a training "
    "checkpoint's model.ckpt-N.index, .tflite files and TensorFlow.js's model.json"
)
_KERAS = (".h5", ".hdf5", ".keras")
_PYTORCH = (".pt", ".pth", ".ckpt", ".safetensors", ".bin")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Importable:
    """A network read from a file.

    ``path`` is the file that was read, ``card`` what to keep of it as JSON, ``notes`` are
    sentences for the user, ``notes_but_size`` those that stay true at another ``image_size``.
    """

    path: Path
    num_classes: int
    state: Mapping[str, Tensor]
    card: Mapping[str, Any]
    image_size: int
    notes: tuple[str, ...] = ()
    notes_but_size: tuple[str, ...] = ()


def read_importable(path: Path, training: Training) -> Importable:
    """The network of a file, by its kind.

    Raises:
        ModelError: a file that is no such network; the message names the remedy.
        SettingsError: ``training`` that is missing, or given for a file that tells it itself.
    """
    index = index_path(path)
    if index is not None and index.is_file():
        return _of_deeplab(index, read_deeplab_checkpoint(index, training))
    if path.is_dir():
        raise ModelError(_folder_sentence(path))
    if not path.is_file():
        raise ModelError(f"no model file {path}")
    if path.suffix not in _READERS:
        raise ModelError(_foreign_sentence(path))
    return _READERS[path.suffix](path, training)


def _of_graph(path: Path, training: Training) -> Importable:
    return _of_deeplab(path, read_deeplab_graph(path, training))


def _of_converted(path: Path, training: Training) -> Importable:
    """A .tflite file or TFJS graph, by the structure of its graph."""
    if training != Training():
        raise SettingsError(
            f"{path} tells its output stride and rates itself: leave --output-stride, "
            "--atrous-rates and --multi-grid out"
        )
    graph = read_graph(path)
    network = graph_to_network(graph)
    layout = asdict(network.layout)
    num_classes, decoder = layout.pop("num_classes"), layout["decoder"]
    card = {
        "builder": "mobilenetv2",
        "options": layout,
        "architecture": f"DeepLabv3{'+' if decoder else ''}, MobileNetV2",
        "square": True,
        "output_stride": layout["output_stride"],
        "grid_stride": 4 if decoder else layout["output_stride"],
        "alignment": layout["alignment"],
        "mean": graph.mean,
        "std": graph.std,
    }
    return Importable(
        path=path,
        num_classes=num_classes,
        state=network.state_dict(),
        card=card,
        image_size=DEFAULT_SIZE,
    )


def _of_deeplab(path: Path, found: TfDeepLabFile) -> Importable:
    card = {
        "builder": "mobilenetv2" if found.quick else "deeplab",
        "options": found.options,
        "architecture": found.architecture,
        "square": found.square,
        "output_stride": found.layout.output_stride,
        "grid_stride": found.layout.grid_stride,
        "alignment": "align_corners",
        "mean": list(found.mean),
        "std": list(found.std),
    }
    unsaid = f"{path.name} does not tell the size of its input; assumed: {DEFAULT_SIZE}"
    return Importable(
        path=path,
        num_classes=found.layout.num_classes,
        state=found.state,
        card=card,
        image_size=found.size or DEFAULT_SIZE,
        notes=found.notes if found.size else (*found.notes, f"{unsaid} (--image-size)"),
        notes_but_size=found.notes,
    )


_READERS: Mapping[str, Callable[[Path, Training], Importable]] = MappingProxyType(
    {".pb": _of_graph, ".tflite": _of_converted, ".json": _of_converted}
)


def _folder_sentence(path: Path) -> str:
    if (path / "saved_model.pb").is_file():
        return (
            f"{path} is a SavedModel folder: give the frozen_inference_graph.pb that DeepLab's "
            "export_model.py writes, or the training checkpoint (model.ckpt-N.index)"
        )
    return f"{path} is a folder: give the file in it; {_TAKEN}"


def _foreign_sentence(path: Path) -> str:
    """Why a file of another kind cannot be imported, by its name and first bytes."""
    with path.open("rb") as stream:
        start = stream.read(8)
    if path.suffix in _KERAS or start.startswith(b"\x89HDF"):
        return f"{path} is a Keras file, which cannot be imported; {_TAKEN}"
    if path.suffix == ".meta":
        return f"{path} is the graph of a checkpoint: give the .index file beside it"
    if ".data-" in path.name:
        return f"{path} is the data of a checkpoint, and its .index file is missing beside it"
    if path.suffix in _PYTORCH or start.startswith(b"PK"):
        return f"{path} is no file of TensorFlow: use it as it is, with --weights {path}"
    return f"{path} is neither of the files that can be imported: {_TAKEN}"
