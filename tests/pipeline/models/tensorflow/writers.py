"""Writes TensorFlow's files from the goldens: their structure, and the seeded values."""

import lzma
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from maskmill.pipeline.models.weights.checkpoint_file import read_checkpoint
from tests.pipeline.models.tensorflow.seeded import variable

GOLDEN = Path(__file__).parent / "golden"
TRAINED = ("weights", "depthwise_weights", "biases", "beta", "gamma")
TRAINED += ("moving_mean", "moving_variance")


def varint(value: int) -> bytes:
    """An unsigned integer in groups of seven bits, the lowest first."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def part(number: int, content: bytes) -> bytes:
    """A field of bytes."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def number(field: int, value: int) -> bytes:
    """A field of an integer."""
    return varint(field << 3) + varint(value)


def shape_message(shape: tuple[int, ...]) -> bytes:
    """A TensorShapeProto."""
    return b"".join(part(2, number(1, size)) for size in shape)


def node(name: str, op: str, inputs: tuple[str, ...] = (), **attributes: bytes) -> bytes:
    """A NodeDef as a field of a GraphDef; attributes are AttrValue messages."""
    message = part(1, name.encode()) + part(2, op.encode())
    message += b"".join(part(3, source.encode()) for source in inputs)
    for key, value in attributes.items():
        message += part(5, part(1, key.encode()) + part(2, value))
    return part(1, message)


def constant(name: str, values: np.ndarray) -> bytes:
    """A Const node of float32 or int32 values."""
    kind = {np.dtype(np.float32): 1, np.dtype(np.float16): 19, np.dtype(np.int32): 3}[values.dtype]
    tensor = number(1, kind) + part(2, shape_message(values.shape)) + part(4, values.tobytes())
    return node(name, "Const", dtype=number(6, kind), value=part(8, tensor))


def pieces(message: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """(number, content, whole) of the byte fields of a message; other fields by number 0."""
    at = 0
    while at < len(message):
        start, values = at, []
        for _ in range(2):
            value = shift = 0
            while True:
                byte = message[at]
                at += 1
                value |= (byte & 0x7F) << shift
                shift += 7
                if byte < 0x80:
                    break
            values.append(value)
            if values[0] & 7 != 2:
                break
        if values[0] & 7 == 5:
            at += 4
        elif values[0] & 7 == 0:
            while message[at] > 0x7F:
                at += 1
            at += 1
        else:
            at += values[1]
            yield values[0] >> 3, message[at - values[1] : at], message[start:at]
            continue
        yield 0, b"", message[start:at]


def golden_nodes(case: str) -> dict[str, bytes]:
    """The nodes of a case's frozen graph by name, as they are in the file, without values."""
    graph = lzma.decompress((GOLDEN / f"{case}.pb.xz").read_bytes())
    named = {}
    for field, content, whole in pieces(graph):
        if field == 1:
            named[next(held for at, held, _ in pieces(content) if at == 1).decode()] = whole
    return named


def variable_shapes(case: str, folder: Path) -> dict[str, tuple[int, ...]]:
    """Name and shape of everything in a case's checkpoint."""
    index = folder / "shapes.index"
    index.write_bytes(lzma.decompress((GOLDEN / f"{case}.index.xz").read_bytes()))
    return {name: entry.shape for name, entry in read_checkpoint(index).entries.items()}


def write_graph(case: str, folder: Path, nodes: dict[str, bytes] | None = None) -> Path:
    """The frozen graph of a case with its seeded values."""
    shapes = variable_shapes(case, folder)
    path = folder / "frozen_inference_graph.pb"
    with path.open("wb") as stream:
        for name, whole in (nodes or golden_nodes(case)).items():
            trained = name in shapes and name.rpartition("/")[2] in TRAINED
            stream.write(constant(name, variable(name, shapes[name])) if trained else whole)
    return path


def write_checkpoint(case: str, folder: Path) -> Path:
    """The checkpoint of a case: TensorFlow's own index, and seeded values in the order of names."""
    shapes = variable_shapes(case, folder)
    index = folder / "model.ckpt-1234.index"
    (folder / "shapes.index").rename(index)
    with index.with_suffix(".data-00000-of-00001").open("wb") as stream:
        for name in sorted(shapes, key=str.encode):
            shape = shapes[name]
            step = struct.pack("<q", 1234)
            stream.write(variable(name, shape).tobytes() if shape else step)
    return index
