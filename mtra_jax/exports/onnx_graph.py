"""Nodes and weights -> an ONNX model; the name of an activation -> its nodes."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

OPSET, FORMAT = 17, 8
"""Versions of the operators and of the file: the first that have layer normalisation."""
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
"""int64 [N, S] each, with N and S free."""

Tensors = Mapping[str, np.ndarray]


class Graph:
    """Nodes and weights in the order in which they are added."""

    def __init__(self) -> None:
        import onnx

        self._onnx = onnx
        self.nodes: list[Any] = []
        self.weights: dict[str, Any] = {}

    def __call__(
        self, operator: str, *inputs: str, output: str = "", **how: Any
    ) -> str:
        """Adds a node with one output, and returns the output's name."""
        output = output or f"{operator}_{len(self.nodes)}"
        node = self._onnx.helper.make_node(operator, inputs, [output], **how)
        self.nodes.append(node)
        return output

    def weight(self, name: str, array: np.ndarray) -> str:
        """Adds an array, and returns its name."""
        if name not in self.weights:
            array = np.array(array, order="C")
            self.weights[name] = self._onnx.numpy_helper.from_array(array, name)
        return name

    def number(self, value: float) -> str:
        """Adds a constant, float32."""
        return self.weight(f"constant {value!r}", np.array(value, np.float32))

    def integers(self, *values: int) -> str:
        """Adds a constant, int64 [number of values]."""
        return self.weight(f"constant {values}", np.array(values, np.int64))

    def linear(self, x: str, tensors: Tensors, name: str) -> str:
        """Adds x Wᵀ + b."""
        weight = self.weight(f"{name}.weight", tensors[f"{name}.weight"].T)
        bias = self.weight(f"{name}.bias", tensors[f"{name}.bias"])
        return self("Add", self("MatMul", x, weight), bias)

    def model(self, outputs: Mapping[str, int], properties: Mapping[str, str]) -> Any:
        """Returns the model. `outputs`: widths by name."""
        helper, types = self._onnx.helper, self._onnx.TensorProto

        def typed(name: str, kind: int, width: int | str) -> Any:
            return helper.make_tensor_value_info(name, kind, ["batch", width])

        graph = helper.make_graph(
            self.nodes,
            "mtra_jax",
            [typed(name, types.INT64, "length") for name in INPUTS],
            [typed(name, types.FLOAT, width) for name, width in outputs.items()],
            list(self.weights.values()),
        )
        opset = helper.make_opsetid("", OPSET)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=FORMAT)
        helper.set_model_props(model, dict(properties))
        return model


# ---- activations

Nodes = Callable[[Graph, str], str]
"""(graph, name of an array) -> the name of the activated array."""


def _gelu(graph: Graph, x: str) -> str:
    erf = graph("Erf", graph("Mul", x, graph.number(math.sqrt(0.5))))
    return _half(graph, graph("Mul", x, graph("Add", erf, graph.number(1.0))))


def _half(graph: Graph, x: str) -> str:
    return graph("Mul", x, graph.number(0.5))


def _tanh_gelu(root: float) -> Nodes:
    """0.5 x (1 + tanh(root (x + 0.044715 x³)))"""

    def apply(graph: Graph, x: str) -> str:
        cube = graph("Mul", graph("Mul", x, x), x)
        inner = graph("Add", x, graph("Mul", cube, graph.number(0.044715)))
        tanh = graph("Tanh", graph("Mul", inner, graph.number(root)))
        return _half(graph, graph("Mul", x, graph("Add", tanh, graph.number(1.0))))

    return apply


def _clipped(low: float, high: float, inner: Nodes | None = None) -> Nodes:
    def apply(graph: Graph, x: str) -> str:
        y = inner(graph, x) if inner else x
        return graph("Clip", y, graph.number(low), graph.number(high))

    return apply


def _gated(rate: float) -> Nodes:
    """x σ(rate x)"""

    def apply(graph: Graph, x: str) -> str:
        scaled = graph("Mul", x, graph.number(rate))
        return graph("Mul", x, graph("Sigmoid", scaled))

    return apply


def _laplace(graph: Graph, x: str) -> str:
    centred = graph("Sub", x, graph.number(0.707107))
    scale = 1 / (0.282095 * math.sqrt(2))
    erf = graph("Erf", graph("Mul", centred, graph.number(scale)))
    return _half(graph, graph("Add", erf, graph.number(1.0)))


def _squared_relu(graph: Graph, x: str) -> str:
    relu = graph("Relu", x)
    return graph("Mul", relu, relu)


def _mish(graph: Graph, x: str) -> str:
    return graph("Mul", x, graph("Tanh", graph("Softplus", x)))


def _operator(*names: str) -> Nodes:
    def apply(graph: Graph, x: str) -> str:
        for name in names:
            x = graph(name, x)
        return x

    return apply


_ACCURATE = _tanh_gelu(math.sqrt(2 / math.pi))
_SILU = _gated(1.0)
ACTIVATIONS: dict[str, Nodes] = {
    "gelu": _gelu,
    "gelu_10": _clipped(-10.0, 10.0, _gelu),
    "gelu_accurate": _ACCURATE,
    "gelu_fast": _tanh_gelu(0.7978845608),
    "gelu_new": _ACCURATE,
    "gelu_python": _gelu,
    "gelu_python_tanh": _ACCURATE,
    "gelu_pytorch_tanh": _ACCURATE,
    "hardswish": _operator("HardSwish"),
    "laplace": _laplace,
    "leaky_relu": _operator("LeakyRelu"),  # its slope, 0.01, is the default
    "linear": _operator("Identity"),
    "mish": _mish,
    "quick_gelu": _gated(1.702),
    "relu": _operator("Relu"),
    "relu2": _squared_relu,
    "relu6": _clipped(0.0, 6.0),
    "sigmoid": _operator("Sigmoid"),
    "silu": _SILU,
    "sqrtsoftplus": _operator("Softplus", "Sqrt"),
    "swish": _SILU,
    "tanh": _operator("Tanh"),
}
"""The names of `models.activations`."""
