"""The bundled model's towers for a CPU: what `networks` and `minilm` compute, as ONNX graphs."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from onnx import TensorProto

from app.encoders.architecture import (
    AUDIO_HIDDEN_PER_DIMENSION,
    CLASSES,
    IMAGE_HIDDEN,
    STEM_CHANNELS,
    V1_FEATURES,
    V1_STAGES,
    V2_FEATURES,
    V2_LATE,
    V2_STAGES,
)
from app.encoders.audio import MEL_BANDS, WINDOW_FRAMES
from app.encoders.onnx_graph import MICROSOFT, Graph

if TYPE_CHECKING:
    from app.encoders.architecture import BertShape
    from app.encoders.model_files import Weights
    from app.encoders.onnx_graph import Activation, Encode

_PADDED = (1, 1)
_PADDED_AT_THE_END = (0, 1)  # as TensorFlow's "same" pads even sizes for a stride of 2


def image_tower(weights: Weights, width: int, dimensions: int) -> Encode:
    """RGB pixels, uint8 [n, size, size, 3] → [n, d]; `width` is that of the text tower."""
    graph = Graph(weights, np.uint8, ["n", "height", "width", 3])
    x = graph.add(
        "Cast", graph.add("Transpose", graph.inputs, perm=[0, 3, 1, 2]), to=TensorProto.FLOAT
    )
    x = graph.add("Div", x, graph.constant(np.array(127.5, np.float32)))
    x = graph.add("Sub", x, graph.constant(np.array(1, np.float32)))
    x = graph.convolution(
        x, "early.conv_stem", (3, STEM_CHANNELS, 3), stride=2, padding=_PADDED, activation="relu6"
    )
    x = _v2_stages(graph, x, "early", range(V2_LATE))
    known, learnt = (_v2_late(graph, x, name) for name in ("known", "learnt"))
    classes = graph.linear(known, "head.known.classifier", V2_FEATURES, CLASSES)
    shares = graph.add("Softmax", classes, axis=1)
    named = graph.linear(shares, "head.known.names", CLASSES, width, bias=False)
    learnt = _mlp(graph, learnt, "head.learnt", (V2_FEATURES, IMAGE_HIDDEN, width))
    x = graph.linear(graph.add("Add", named, learnt), "head.proj", width, dimensions, bias=False)
    return graph.compile(x)


def audio_tower(weights: Weights, dimensions: int) -> Encode:
    """Log-mel windows, float32 [n, 96, 64] → [n, d]."""
    graph = Graph(weights, np.float32, ["n", WINDOW_FRAMES, MEL_BANDS])
    x = graph.add("Unsqueeze", graph.inputs, graph.axes(1))
    x = graph.convolution(
        x,
        "trunk.conv_stem",
        (1, STEM_CHANNELS, 3),
        stride=2,
        padding=_PADDED_AT_THE_END,
        activation="relu",
    )
    inputs = STEM_CHANNELS
    for number, stage in enumerate(V1_STAGES):
        for index in range(stage.blocks):
            block, channels = f"trunk.blocks.{number}.{index}", (inputs, stage.channels)
            stride = stage.stride if index == 0 else 1
            padding = _PADDED if stride == 1 else _PADDED_AT_THE_END
            x = _separable(graph, x, block, channels, stride, padding, ("relu", "relu"))
            inputs = stage.channels
    hidden = AUDIO_HIDDEN_PER_DIMENSION * dimensions
    x = _mlp(graph, _pool(graph, x), "head", (V1_FEATURES, hidden, dimensions))
    return graph.compile(x)


def text_tower(
    weights: Weights, shape: BertShape, dimensions: int, threads: int = 1, *, int8: bool = False
) -> Encode:
    """Token ids int64 [n, length], padded with zeros at the end → [n, d].

    A text by itself is worth several threads, which share each layer. `int8`: the layers multiply
    8-bit integers; else they are in single precision.
    """
    width, hidden = shape.hidden_size, shape.intermediate_size
    graph = Graph(weights, np.int64, ["n", "length"])

    def linear(x: str, names: list[str], inputs: int, outputs: int) -> str:
        if int8:
            return graph.int8_linear(x, names, inputs, outputs)
        each = [graph.linear(x, name, inputs, outputs) for name in names]
        return graph.add("Concat", *each, axis=-1) if len(each) > 1 else each[0]

    def residual(x: str, name: str, inputs: int, skip: str) -> str:
        return graph.add(
            "SkipLayerNormalization",
            linear(x, [f"{name}.dense"], inputs, width),
            skip,
            *_norm(graph, name, width),
            domain=MICROSOFT,
            epsilon=shape.layer_norm_eps,
        )

    ids = graph.add("Cast", graph.inputs, to=TensorProto.INT32)
    present = graph.add("Sign", graph.add("Cast", graph.inputs, to=TensorProto.FLOAT))
    total = graph.add("ReduceSum", present, graph.axes(1))
    lengths = graph.add("Squeeze", graph.add("Cast", total, to=TensorProto.INT32), graph.axes(1))
    x = _embeddings(graph, ids, shape)
    for number in range(shape.num_hidden_layers):
        layer = f"transformer.encoder.layer.{number}"
        of_attention = [f"{layer}.attention.self.{part}" for part in ("query", "key", "value")]
        parts = graph.add_parts(
            3, "Split", linear(x, of_attention, width, width), axis=2, num_outputs=3
        )
        attended = graph.add(
            "MultiHeadAttention",
            *parts,
            "",
            lengths,
            domain=MICROSOFT,
            num_heads=shape.num_attention_heads,
        )
        x = residual(attended, f"{layer}.attention.output", width, x)
        inner = graph.add("Gelu", linear(x, [f"{layer}.intermediate.dense"], width, hidden))
        x = residual(inner, f"{layer}.output", hidden, x)
    shares = graph.add("Unsqueeze", graph.add("Div", present, total), graph.axes(1))
    mean = graph.add("Squeeze", graph.add("MatMul", shares, x), graph.axes(1))
    return graph.compile(graph.linear(mean, "proj", width, dimensions, bias=False), threads)


def _embeddings(graph: Graph, ids: str, shape: BertShape) -> str:
    name, width = "transformer.embeddings", shape.hidden_size
    positions = graph.take(
        f"{name}.position_embeddings.weight", shape.max_position_embeddings, width
    )
    segments = graph.take(f"{name}.token_type_embeddings.weight", 2, width)
    embedded, _ = graph.add_parts(
        2,
        "EmbedLayerNormalization",
        ids,
        "",
        graph.weight(f"{name}.word_embeddings.weight", shape.vocab_size, width),
        graph.constant(positions + segments[0]),  # all is of the first segment
        "",
        *_norm(graph, name, width),
        domain=MICROSOFT,
        epsilon=shape.layer_norm_eps,
    )
    return embedded


def _norm(graph: Graph, name: str, width: int) -> list[str]:
    return [graph.weight(f"{name}.LayerNorm.{part}", width) for part in ("weight", "bias")]


def _mlp(graph: Graph, x: str, name: str, sizes: tuple[int, int, int]) -> str:
    (inputs, hidden), (_, outputs) = pairwise(sizes)
    x = graph.add("Gelu", graph.linear(x, f"{name}.fc1", inputs, hidden))
    return graph.linear(x, f"{name}.fc2", hidden, outputs, bias=False)


def _pool(graph: Graph, x: str) -> str:
    return graph.add("Flatten", graph.add("GlobalAveragePool", x))


def _v2_late(graph: Graph, x: str, name: str) -> str:
    x = _v2_stages(graph, x, name, range(V2_LATE, len(V2_STAGES)))
    shape = (V2_STAGES[-1].channels, V2_FEATURES, 1)
    return _pool(graph, graph.convolution(x, f"{name}.conv_head", shape, activation="relu6"))


def _v2_stages(graph: Graph, x: str, name: str, numbers: range) -> str:
    for number in numbers:
        stage = V2_STAGES[number]
        inputs = V2_STAGES[number - 1].channels if number else STEM_CHANNELS
        for index in range(stage.blocks):
            block = f"{name}.blocks.{number}.{index}"
            stride = stage.stride if index == 0 else 1
            if stage.expansion == 1:
                channels = (inputs, stage.channels)
                x = _separable(graph, x, block, channels, stride, _PADDED, ("relu6", "none"))
            else:
                wide = stage.expansion * inputs
                x = _inverted_residual(graph, x, block, (inputs, wide, stage.channels), stride)
            inputs = stage.channels
    return x


def _separable(
    graph: Graph,
    x: str,
    name: str,
    channels: tuple[int, int],
    stride: int,
    padding: tuple[int, int],
    activations: tuple[Activation, Activation],
) -> str:
    """Depthwise then pointwise convolution, each with its activation."""
    inputs, _ = channels
    x = graph.convolution(
        x,
        f"{name}.conv_dw",
        (inputs, inputs, 3),
        stride=stride,
        padding=padding,
        groups=inputs,
        activation=activations[0],
    )
    return graph.convolution(x, f"{name}.conv_pw", (*channels, 1), activation=activations[1])


def _inverted_residual(
    graph: Graph, x: str, name: str, channels: tuple[int, int, int], stride: int
) -> str:
    """`channels`: of the input, between the convolutions, and of the output."""
    inputs, wide, outputs = channels
    y = graph.convolution(x, f"{name}.conv_pw", (inputs, wide, 1), activation="relu6")
    y = graph.convolution(
        y,
        f"{name}.conv_dw",
        (wide, wide, 3),
        stride=stride,
        padding=_PADDED,
        groups=wide,
        activation="relu6",
    )
    y = graph.convolution(y, f"{name}.conv_pwl", (wide, outputs, 1))
    return graph.add("Add", y, x) if stride == 1 and inputs == outputs else y
