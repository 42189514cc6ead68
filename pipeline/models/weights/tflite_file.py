"""TFLite flatbuffer -> FrozenGraph; int8 and uint8 weights are dequantised to float32.

Read with the generated ``tflite`` package. By the TFLite quantisation specification
real = scale * (stored - zero_point), per tensor or per channel of one dimension.
"""

import struct
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import tflite

from maskmill.pipeline.models.networks.frozen_graph import (
    Activation,
    Flow,
    FrozenConvolution,
    FrozenGraph,
    Rounding,
    alignment_name,
    join_flows,
)
from maskmill.schemas.errors import ModelError

_OPERATOR_NAMES = MappingProxyType(
    {value: name for name, value in vars(tflite.BuiltinOperator).items() if isinstance(value, int)}
)
_DTYPES: MappingProxyType[int, np.dtype[Any]] = MappingProxyType(
    {
        tflite.TensorType.FLOAT32: np.dtype("<f4"),
        tflite.TensorType.FLOAT16: np.dtype("<f2"),
        tflite.TensorType.INT32: np.dtype("<i4"),
        tflite.TensorType.INT8: np.dtype("i1"),
        tflite.TensorType.UINT8: np.dtype("u1"),
    }
)
_ACTIVATIONS: MappingProxyType[int, Activation] = MappingProxyType(
    {
        tflite.ActivationFunctionType.NONE: "none",
        tflite.ActivationFunctionType.RELU: "relu",
        tflite.ActivationFunctionType.RELU6: "relu6",
    }
)
_JOINING = frozenset(
    {
        "ADD",
        "CONCATENATION",
        "QUANTIZE",
        "DEQUANTIZE",
        "RESIZE_BILINEAR",
        "PAD",
        "RESHAPE",
        "SUB",
        "MUL",
    }
)
_POOLING = frozenset({"AVERAGE_POOL_2D", "MEAN"})
_ENDS = frozenset({"ARG_MAX", "SOFTMAX", "LOGISTIC"})
_QUANTISED = frozenset({tflite.TensorType.INT8, tflite.TensorType.UINT8})
_FILE_IDENTIFIER = b"TFL3"
# The generated reader checks nothing: a damaged offset shows as any of these.
_DAMAGE = (
    struct.error,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    OverflowError,
    MemoryError,
    AssertionError,
)


def read_tflite(path: Path) -> FrozenGraph:
    """The convolutions of a TFLite file, in execution order.

    Raises:
        ModelError: not a TFLite file, a broken one, or with operators a DeepLab does not have.
    """
    content = path.read_bytes()
    if content[4:8] != _FILE_IDENTIFIER:
        raise ModelError(f"{path} is not a TFLite file (no {_FILE_IDENTIFIER.decode()} at byte 4)")
    try:
        return _Reader(path, content).read()
    except _DAMAGE as error:
        raise ModelError(f"{path} is a broken TFLite file: {error}") from error


class _Reader:
    """Walks the operators once, noting for every tensor which convolution it comes from."""

    def __init__(self, path: Path, content: bytes) -> None:
        self.path = path
        self.model: Any = tflite.Model.GetRootAsModel(content, 0)
        self.graph: Any = self.model.Subgraphs(0)
        self.flows: dict[int, Flow] = {}
        self.convolutions: list[FrozenConvolution] = []
        self.alignment = "align_corners"

    def read(self) -> FrozenGraph:
        for position in range(self.graph.OperatorsLength()):
            operator = self.graph.Operators(position)
            self._follow(self._operator_name(operator), operator)
        return FrozenGraph(tuple(self.convolutions), self.alignment, *self._input_scaling())

    def _input_scaling(self) -> tuple[float, float]:
        """Mean and deviation of the input: a quantised file says them itself."""
        rounding = self._rounding(int(self.graph.InputsAsNumpy()[0]))
        if rounding is None:
            return 127.5, 127.5
        return float(rounding.zero + 128), round(1 / rounding.step, 3)

    def _follow(self, name: str, operator: Any) -> None:
        inputs = [int(index) for index in operator.InputsAsNumpy()]
        flow = join_flows([self.flows[index] for index in inputs if index in self.flows])
        if name in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            flow = self._convolution(name, operator, inputs, flow)
        elif name in _POOLING:
            flow = Flow(flow.source, pooled=True)
        elif name not in _JOINING | _ENDS:
            raise ModelError(f"{self.path}: operator {name} is not part of a MobileNetV2 DeepLab")
        if name == "RESIZE_BILINEAR":
            options = _options(operator, tflite.ResizeBilinearOptions)
            self.alignment = alignment_name(
                align_corners=options.AlignCorners(),
                half_pixel=options.HalfPixelCenters(),
            )
        for index in operator.OutputsAsNumpy():
            self.flows[int(index)] = flow

    def _convolution(self, kind: str, operator: Any, inputs: list[int], flow: Flow) -> Flow:
        depthwise = kind == "DEPTHWISE_CONV_2D"
        options = _options(
            operator, tflite.DepthwiseConv2DOptions if depthwise else tflite.Conv2DOptions
        )
        # stored (out, kh, kw, in), depthwise (1, kh, kw, out)
        stored = self._values(inputs[1])
        weight = stored.transpose(3, 0, 1, 2) if depthwise else stored.transpose(0, 3, 1, 2)
        self.convolutions.append(
            FrozenConvolution(
                name=self._tensor(inputs[1]).Name().decode("utf-8", "replace"),
                weight=np.ascontiguousarray(weight),
                bias=self._bias(inputs, weight.shape[0]),
                groups=weight.shape[0] if depthwise else 1,
                stride=options.StrideH(),
                dilation=options.DilationHFactor(),
                activation=_ACTIVATIONS[options.FusedActivationFunction()],
                source=flow.source,
                pooled=flow.pooled,
                rounding=self._rounding(int(operator.OutputsAsNumpy()[0])),
            )
        )
        return Flow(len(self.convolutions) - 1)

    def _operator_name(self, operator: Any) -> str:
        code = self.model.OperatorCodes(operator.OpcodeIndex())
        return str(_OPERATOR_NAMES[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())])

    def _tensor(self, index: int) -> Any:
        return self.graph.Tensors(index)

    def _bias(self, inputs: list[int], channels: int) -> npt.NDArray[np.float32]:
        if len(inputs) < 3 or inputs[2] < 0:
            return np.zeros(channels, np.float32)
        return self._values(inputs[2])

    def _rounding(self, index: int) -> Rounding | None:
        tensor = self._tensor(index)
        quantization = tensor.Quantization()
        if tensor.Type() not in _QUANTISED or quantization is None:
            return None
        shift = 128 if tensor.Type() == tflite.TensorType.UINT8 else 0
        return Rounding(float(quantization.Scale(0)), int(quantization.ZeroPoint(0)) - shift)

    def _values(self, index: int) -> npt.NDArray[np.float32]:
        tensor = self._tensor(index)
        shape = tensor.ShapeAsNumpy()
        data = self.model.Buffers(tensor.Buffer()).DataAsNumpy()
        stored = np.frombuffer(data.tobytes(), _DTYPES[tensor.Type()]).reshape(shape)
        return _dequantised(stored, tensor.Quantization())


def _dequantised(stored: npt.NDArray[Any], quantization: Any) -> npt.NDArray[np.float32]:
    if quantization is None or quantization.ScaleLength() == 0:
        return stored.astype(np.float32)
    along = [1] * stored.ndim
    along[quantization.QuantizedDimension()] = -1
    if quantization.ScaleLength() == 1:
        along = [1] * stored.ndim
    scale = quantization.ScaleAsNumpy().astype(np.float64).reshape(along)
    zero = quantization.ZeroPointAsNumpy().astype(np.float64).reshape(along)
    real: npt.NDArray[np.float32] = ((stored.astype(np.float64) - zero) * scale).astype(np.float32)
    return real


def _options(operator: Any, kind: Callable[[], Any]) -> Any:
    table = operator.BuiltinOptions()
    options = kind()
    options.Init(table.Bytes, table.Pos)
    return options
