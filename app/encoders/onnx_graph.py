"""Graphs of ONNX operators over a tower's weights, run by ONNX Runtime on a CPU.

Operators are those of https://onnx.ai/onnx/operators and, in the domain `com.microsoft`, those of
ONNX Runtime's docs/ContribOperators.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, cast

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession, SessionOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from onnx import NodeProto

    from app.encoders.model_files import Weights

    Encode = Callable[[NDArray[Any]], NDArray[np.float32]]

MICROSOFT: Final = "com.microsoft"

Activation = Literal["none", "relu", "relu6"]

_OPSETS: Final = {"": 20, MICROSOFT: 1}
_IR_VERSION: Final = 10  # older than what the operators need, newer is not read by all runtimes
_INPUT: Final = "inputs"
_OUTPUT: Final = "vectors"

# Numbers that share a scale. With 32 of them a long text takes an eighth longer, for a cosine to
# its exact vector of 0.9996 instead of 0.9994. With 128 a row's sums depend, at their last digits,
# on how many rows there are, which rounding carries on.
_BLOCK: Final = 64
_ZERO: Final = 128  # of numbers from 1 to 255
_INT8_INPUTS: Final = 4  # the accuracy level that quantizes inputs too, block by block


class Graph:
    """A graph in the making. Values are known by the names that its methods return."""

    def __init__(
        self, weights: Weights, inputs: type[np.generic], shape: Sequence[str | int]
    ) -> None:
        """`inputs` and `shape` are those of what the graph takes; names stand for any number."""
        self._weights = weights
        self.take = weights.take
        self._nodes: list[NodeProto] = []
        self._constants: list[TensorProto] = []
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(inputs))
        self._inputs = helper.make_tensor_value_info(_INPUT, kind, shape)
        self.inputs = _INPUT

    def add(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add an operator of one output; an input that is not there is an empty string."""
        (output,) = self.add_parts(1, operator, *inputs, domain=domain, **attributes)
        return output

    def add_parts(
        self, count: int, operator: str, *inputs: str, domain: str = "", **attributes: Any
    ) -> list[str]:
        """Add an operator of so many outputs."""
        outputs = [f"{operator}_{len(self._nodes)}_{number}" for number in range(count)]
        node = helper.make_node(operator, inputs, outputs, domain=domain, **attributes)
        self._nodes.append(node)
        return outputs

    def constant(self, value: NDArray[Any]) -> str:
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def axes(self, *axes: int) -> str:
        return self.constant(np.array(axes, np.int64))

    def weight(self, name: str, *shape: int) -> str:
        return self.constant(self.take(name, *shape))

    def linear(self, x: str, name: str, inputs: int, outputs: int, *, bias: bool = True) -> str:
        """Multiply [..., inputs] by a layer's weight [outputs, inputs], in single precision."""
        weight = self.take(f"{name}.weight", outputs, inputs)
        product = self.add("MatMul", x, self.constant(weight.T))
        return self.add("Add", product, self.weight(f"{name}.bias", outputs)) if bias else product

    def int8_linear(self, x: str, names: Sequence[str], inputs: int, outputs: int) -> str:
        """As `linear`, of several layers side by side, in 8-bit integers.

        A text is as slow as its weights are to read. Inputs get scales of their own, for each row
        and block: a text's vector does not depend on its neighbours.
        """
        weights = [self.take(f"{name}.weight", outputs, inputs) for name in names]
        biases = [self.take(f"{name}.bias", outputs) for name in names]
        numbers, scales = _quantize(np.concatenate(weights))
        constants = [self.constant(part) for part in (numbers, scales, np.concatenate(biases))]
        return self.add(
            "MatMulNBits",
            x,
            *constants[:2],
            *("", ""),
            constants[2],
            domain=MICROSOFT,
            K=inputs,
            N=outputs * len(names),
            bits=8,
            block_size=_BLOCK,
            accuracy_level=_INT8_INPUTS,
        )

    def convolution(
        self,
        x: str,
        name: str,
        shape: tuple[int, int, int],
        *,
        stride: int = 1,
        padding: tuple[int, int] = (0, 0),
        groups: int = 1,
        activation: Activation = "none",
    ) -> str:
        """Convolve [n, inputs, h, w] by a square kernel: `shape` is (inputs, outputs, size).

        `padding` is what comes before and after, in either direction.
        """
        inputs, outputs, size = shape
        y = self.add(
            "Conv",
            x,
            self.weight(f"{name}.weight", outputs, inputs // groups, size, size),
            self.weight(f"{name}.bias", outputs),
            strides=[stride, stride],
            pads=[padding[0], padding[0], padding[1], padding[1]],
            group=groups,
        )
        match activation:
            case "relu":
                return self.add("Relu", y)
            case "relu6":
                limits = (self.constant(np.array(limit, np.float32)) for limit in (0, 6))
                return self.add("Clip", y, *limits)
        return y

    def compile(self, vectors: str, threads: int = 1) -> Encode:
        """Return what computes a value [n, d], on so many threads for each operator.

        ModelFilesError if not all weights were taken.
        """
        self._weights.expect_none_left()
        self._nodes.append(helper.make_node("Identity", [vectors], [_OUTPUT]))
        output = helper.make_tensor_value_info(_OUTPUT, TensorProto.FLOAT, None)
        graph = helper.make_graph(
            self._nodes, self._weights.path.stem, [self._inputs], [output], self._constants
        )
        opsets = [helper.make_opsetid(domain, version) for domain, version in _OPSETS.items()]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)
        session = InferenceSession(
            model.SerializeToString(), _options(threads), providers=["CPUExecutionProvider"]
        )
        return lambda inputs: cast(
            "NDArray[np.float32]", session.run([_OUTPUT], {_INPUT: inputs})[0]
        )


def _options(threads: int) -> SessionOptions:
    options = SessionOptions()
    options.intra_op_num_threads = threads
    options.enable_cpu_mem_arena = False  # it would never give back what a batch took
    # Idle threads sleep: the decoders and Postgres want the cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _quantize(weight: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Round [outputs, inputs] to [outputs, blocks, block] and scales [outputs * blocks]."""
    outputs, inputs = weight.shape
    blocks = -(-inputs // _BLOCK)
    padded = np.pad(weight, ((0, 0), (0, blocks * _BLOCK - inputs)))
    parts = padded.reshape(outputs, blocks, _BLOCK)
    scales = np.abs(parts).max(-1) / (_ZERO - 1)
    scales[scales == 0] = 1
    numbers = np.rint(parts / scales[..., None]) + _ZERO
    return numbers.astype(np.uint8), scales.ravel()
