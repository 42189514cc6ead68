"""What a file given as weights is, by its first bytes rather than its name; and what to do then.

One true sentence for each kind that cannot be loaded, with the remedy.
"""

import zipfile
from pathlib import Path
from typing import Final, Literal

from maskmill.schemas.errors import ModelError, WeightsRefused

FileKind = Literal["torch", "safetensors", "graph"]

_HEAD: Final = 512
_GRAPH_SUFFIXES: Final = (".tflite", ".json")
_MAX_HEADER: Final = 100_000_000  # the limit that the safetensors format sets itself
_STATE_DICT: Final = "save model.state_dict() with torch.save, or as .safetensors"
_TF_IMPORT: Final = "`maskmill models import FILE --name N --labels L` reads frozen graphs"
_CHECKPOINT_SUFFIXES: Final = (".index", ".meta", ".ckpt")


def file_kind(path: Path) -> FileKind:
    """How the file is to be read.

    Raises:
        WeightsRefused: a program rather than weights (TorchScript).
        ModelError: no such file, or one of a kind that holds no weights we can read; the message
            says which, and the remedy.
    """
    if path.is_dir():
        raise ModelError(_folder(path))
    if not path.is_file():
        raise ModelError(f"no weights file {path}")
    if path.suffix in _GRAPH_SUFFIXES:
        return "graph"
    with path.open("rb") as file:
        head = file.read(_HEAD)
    told = _stranger(path, head)
    if told:
        raise ModelError(f"{path} {told}")
    if _is_safetensors(head):
        return "safetensors"
    if head.startswith(b"PK"):
        _check_zip(path)
        return "torch"
    if head.startswith(b"\x80") or head[:1] in b"}]().c":  # pickles, with and without a protocol
        return "torch"
    if path.suffix == ".safetensors":
        raise ModelError(f"{path} is not a readable weights file: no safetensors header in it")
    raise ModelError(
        f"{path} is not a readable weights file: it begins with {head[:8]!r}, which is neither "
        "PyTorch's nor safetensors' way to begin"
    )


def _is_safetensors(head: bytes) -> bool:
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") < _MAX_HEADER


def _folder(path: Path) -> str:
    if (path / "saved_model.pb").is_file():
        return f"{path} is a TensorFlow SavedModel: freeze it to one .pb file, then {_TF_IMPORT}"
    if (path / "model.safetensors").is_file():
        return f"{path} is a folder: give {path / 'model.safetensors'}"
    if (path / "data.pkl").is_file():
        return (
            f"{path} is an unpacked file of torch.save: pack it again with `zip -0 -r`, or give "
            "the file itself"
        )
    return f"{path} is a folder, not a weights file"


def _stranger(path: Path, head: bytes) -> str | None:
    """What is to be said of a file that is no weights file; None where it may be one."""
    text = head.lstrip().lower()
    if not head:
        return "is not a readable weights file: it is empty; fetch it again"
    if head.startswith(b"version https://git-lfs"):
        return "is a git-LFS pointer, not the file itself: run `git lfs pull` in its repository"
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "is a web page, not weights: the download gave a page; fetch the file itself again"
    if head.startswith(b"\x89HDF\r\n"):
        return (
            "is an HDF5 file (Keras): export the Keras model to a frozen graph or TFLite, then "
            f"{_TF_IMPORT}"
        )
    if head[4:8] == b"TFL3":
        return "is a TFLite model: name it .tflite"
    if _is_onnx(path, head):
        return f"is an ONNX model, a graph without its architecture's names: {_STATE_DICT}"
    if (
        head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf"))
        or head[257:262] == b"ustar"
    ):
        return "is an archive: unpack it and give the weights file inside"
    return _tensorflow(path)


def _tensorflow(path: Path) -> str | None:
    """TensorFlow's files have no magic bytes; they go by their names."""
    if path.name == "saved_model.pb":
        return (
            f"is the graph of a TensorFlow SavedModel: freeze it to one .pb file, then {_TF_IMPORT}"
        )
    if path.suffix == ".pb":
        return f"is a TensorFlow frozen graph: {_TF_IMPORT}"
    if (path.suffix in _CHECKPOINT_SUFFIXES and not _may_be_torch(path)) or ".data-" in path.name:
        return f"is part of a TensorFlow checkpoint: {_TF_IMPORT}, and checkpoints by their .index"
    return None


def _may_be_torch(path: Path) -> bool:
    """Lightning too calls its files .ckpt."""
    with path.open("rb") as file:
        return file.read(2)[:1] in (b"P", b"\x80")


def _is_onnx(path: Path, head: bytes) -> bool:
    # ModelProto: field 1 (ir_version) as a varint, then field 2 (producer_name) or 7 (graph).
    return path.suffix == ".onnx" or (head[:1] == b"\x08" and head[2:3] in (b"\x12", b":"))


def _check_zip(path: Path) -> None:
    """A zip must be one of torch.save.

    Raises:
        WeightsRefused, ModelError: what it is instead.
    """
    if not zipfile.is_zipfile(path):
        raise ModelError(
            f"{path} is not a readable weights file: it is cut short, its end is missing; fetch or "
            "copy it again"
        )
    with zipfile.ZipFile(path) as archive:
        names = [name.partition("/")[2] or name for name in archive.namelist()]
    if "constants.pkl" in names or any(name.startswith("code/") for name in names):
        raise WeightsRefused(
            f"{path} is a TorchScript program, and nothing of it was run: load it with "
            f"torch.jit.load where it comes from, and {_STATE_DICT}"
        )
    if "data.pkl" in names:
        return
    if any("serialized_exported_program" in name or name == "archive_format" for name in names):
        raise ModelError(f"{path} is a torch.export program: {_STATE_DICT}")
    if "model.weights.h5" in archive.namelist():
        raise ModelError(
            f"{path} is a Keras model: export it to a frozen graph or TFLite, then {_TF_IMPORT}"
        )
    inside = ", ".join(archive.namelist()[:4])
    raise ModelError(
        f"{path} is a zip archive of {inside or 'nothing'}, not a weights file: give the weights "
        "file inside"
    )
