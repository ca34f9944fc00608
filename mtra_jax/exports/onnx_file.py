"""The directory of an exported model -> `model.onnx` in it: encoder and heads of all tasks.

Inputs: `input_ids`, `attention_mask` and `token_type_ids`, int64 [N, S], padded at the
right. Outputs: for each task, by its name, probabilities or values in the user's unit,
float32 [N, labels]; and `z`, float32 [N, H]. N and S are free.
"""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mtra_jax import files
from mtra_jax.errors import InputError
from mtra_jax.exports import onnx_graph, weights
from mtra_jax.methods import stl_cnn
from mtra_jax.models import naming, pretrained
from mtra_jax.models.encoder import EncoderConfig
from mtra_jax.runs.directory import layout, tasks_json
from mtra_jax.tasks import Benchmark, Task

FILE = "model.onnx"
WEIGHTS = f"{FILE}.data"
REPRESENTATION = "z"
LARGEST = 2**31 - 2**20
"""Bytes of weights that fit into one file; those of larger models lie beside it."""
MASKED = -1e30
"""Added to the scores of padding before the softmax."""

_LINES = """\
import numpy
import onnxruntime
from tokenizers import Tokenizer

tokenizer = Tokenizer.from_file("encoder/tokenizer.json")
tokenizer.enable_padding()
tokenizer.enable_truncation({max_length})
encodings = tokenizer.encode_batch({example})
inputs = {{
    "input_ids": numpy.array([e.ids for e in encodings]),
    "attention_mask": numpy.array([e.attention_mask for e in encodings]),
    "token_type_ids": numpy.array([e.type_ids for e in encodings]),
}}
session = onnxruntime.InferenceSession("model.onnx")
names = [output.name for output in session.get_outputs()]
results = dict(zip(names, session.run(None, inputs)))
"""

Tensors = Mapping[str, np.ndarray]


# ---- the network


def _encoder(graph: onnx_graph.Graph, config: EncoderConfig, tensors: Tensors) -> str:
    """Adds the encoder; returns its last hidden states [N, S, H]."""

    def table(name: str) -> str:
        name = f"embeddings.{name}_embeddings.weight"
        return graph.weight(name, tensors[name])

    def norm(x: str, name: str) -> str:
        parts = (f"{name}.weight", f"{name}.bias")
        own = [graph.weight(part, tensors[part]) for part in parts]
        epsilon = config.layer_norm_eps
        return graph("LayerNormalization", x, *own, axis=-1, epsilon=epsilon)

    length = graph("Gather", graph("Shape", "input_ids"), _scalar(graph, 1))
    first = config.position_offset
    last = graph("Add", length, _scalar(graph, first))
    places = graph("Range", _scalar(graph, first), last, _scalar(graph, 1))
    hidden = graph("Gather", table("word"), "input_ids")
    hidden = graph("Add", hidden, graph("Gather", table("position"), places))
    hidden = graph(
        "Add", hidden, graph("Gather", table("token_type"), "token_type_ids")
    )
    hidden = norm(hidden, "embeddings.LayerNorm")
    masked = graph("Sub", graph.number(1.0), _mask(graph))
    masked = graph("Mul", masked, graph.number(MASKED))
    masked = graph("Unsqueeze", masked, graph.integers(1, 2))  # [N, 1, 1, S]
    for layer in range(config.num_hidden_layers):
        name = f"encoder.layer.{layer}"
        mixed = _attention(graph, config, tensors, name, hidden, masked)
        hidden = graph("Add", hidden, mixed)
        hidden = norm(hidden, f"{name}.attention.output.LayerNorm")
        inner = graph.linear(hidden, tensors, f"{name}.intermediate.dense")
        inner = onnx_graph.ACTIVATIONS[config.hidden_act](graph, inner)
        outer = graph.linear(inner, tensors, f"{name}.output.dense")
        hidden = norm(graph("Add", hidden, outer), f"{name}.output.LayerNorm")
    return hidden


def _scalar(graph: onnx_graph.Graph, value: int) -> str:
    return graph.weight(f"constant {value}", np.array(value, np.int64))


def _mask(graph: onnx_graph.Graph) -> str:
    """The attention mask as float32 [N, S]."""
    return graph("Cast", "attention_mask", to=1)


def _attention(
    graph: onnx_graph.Graph,
    config: EncoderConfig,
    tensors: Tensors,
    layer: str,
    hidden: str,
    masked: str,
) -> str:
    heads = config.num_attention_heads
    size = config.hidden_size // heads

    def project(name: str, order: list[int]) -> str:
        projected = graph.linear(hidden, tensors, f"{layer}.attention.self.{name}")
        split = graph("Reshape", projected, graph.integers(0, 0, heads, size))
        return graph("Transpose", split, perm=order)

    queries, keys = project("query", [0, 2, 1, 3]), project("key", [0, 2, 3, 1])
    scores = graph("Mul", graph("MatMul", queries, keys), graph.number(size**-0.5))
    shares = graph("Softmax", graph("Add", scores, masked), axis=-1)
    mixed = graph("MatMul", shares, project("value", [0, 2, 1, 3]))
    mixed = graph("Transpose", mixed, perm=[0, 2, 1, 3])
    mixed = graph("Reshape", mixed, graph.integers(0, 0, config.hidden_size))
    return graph.linear(mixed, tensors, f"{layer}.attention.output.dense")


def _features(
    graph: onnx_graph.Graph, hidden: str, z: str, tensors: Tensors, task: str
) -> str:
    """Adds the layers between hidden states and heads; returns the heads' input."""
    if f"{weights.BOTTLENECK}.weight" in tensors:
        return graph.linear(z, tensors, weights.BOTTLENECK)
    if f"{weights.filters_of(task)[0]}.weight" not in tensors:
        return z
    mask = graph("Unsqueeze", _mask(graph), graph.integers(1))  # [N, 1, S]
    states = graph("Mul", graph("Transpose", hidden, perm=[0, 2, 1]), mask)
    maxima = []
    for width, name in zip(stl_cnn.WIDTHS, weights.filters_of(task), strict=True):
        own = [graph.weight(x, tensors[x]) for x in (f"{name}.weight", f"{name}.bias")]
        responses = graph("Conv", states, *own, pads=[0, width - 1])
        responses = graph("Mul", graph("Relu", responses), mask)
        maxima.append(graph("ReduceMax", responses, axes=[-1], keepdims=0))
    return graph("Concat", *maxima, axis=-1)


def _head(graph: onnx_graph.Graph, features: str, tensors: Tensors, task: Task) -> None:
    """Adds the head of `task`, and its output in the form that users read."""
    output = graph.linear(graph("Relu", features), tensors, f"heads.{task.name}")
    if task.kind == "classification":
        graph("Softmax", output, axis=-1, output=task.name)
    elif task.kind == "multi_label":
        graph("Sigmoid", output, output=task.name)
    elif not task.means:
        graph("Identity", output, output=task.name)
    else:
        deviations = np.array(task.deviations, np.float32)
        scaled = graph(
            "Mul", output, graph.weight(f"{task.name} deviations", deviations)
        )
        means = graph.weight(f"{task.name} means", np.array(task.means, np.float32))
        graph("Add", scaled, means, output=task.name)


def build(config: EncoderConfig, tensors: Tensors, benchmark: Benchmark) -> Any:
    """Returns the ONNX model, a `ModelProto`.

    `tensors`: those of the encoder under Hugging Face's names, and of `weights`.

    Raises:
      InputError: a task has the name of an input or of z.
    """
    for task in benchmark.tasks:
        if task.name in (*onnx_graph.INPUTS, REPRESENTATION):
            raise InputError(f"--onnx: the task {task.name!r} has the name of an array")
    graph = onnx_graph.Graph()
    hidden = _encoder(graph, config, tensors)
    z = graph("Gather", hidden, _scalar(graph, 0), axis=1, output=REPRESENTATION)
    features = _features(graph, hidden, z, tensors, benchmark.task_names[0])
    for task in benchmark.tasks:
        _head(graph, features, tensors, task)
    outputs = {task.name: task.num_outputs for task in benchmark.tasks}
    labels = {f"labels/{t.name}": "\n".join(t.labels) for t in benchmark.tasks}
    return graph.model({**outputs, REPRESENTATION: config.hidden_size}, labels)


# ---- the file


def lines(max_length: int, example: str) -> str:
    """Returns lines of Python that predict the texts `example`, a literal, from the file.

    They need `onnxruntime`, `tokenizers` and `numpy`, and texts without white space
    around them.
    """
    return _LINES.format(max_length=max_length, example=example)


def check_installed() -> None:
    """Raises InputError if the package `onnx` is not installed."""
    if importlib.util.find_spec("onnx") is None:
        raise InputError(
            "--onnx needs the package onnx, which is not installed; expected "
            "pip install onnx"
        )


def write(directory: Path) -> None:
    """Adds `model.onnx` to the exported model in `directory`.

    Weights of more than 2 GiB are written beside it, into `model.onnx.data`.

    Raises:
      InputError: the model has no form in ONNX.
    """
    import onnx

    config, params = pretrained.load_encoder(directory / layout.ENCODER)
    tensors = {**naming.to_huggingface(params, config), **weights.read(directory)}
    model = build(config, tensors, tasks_json.read(directory))
    if sum(array.nbytes for array in tensors.values()) > LARGEST:
        how = {"save_as_external_data": True, "location": WEIGHTS}
        onnx.save_model(model, str(directory / FILE), **how)
        return
    with files.replacing(directory / FILE) as temporary:
        temporary.write_bytes(model.SerializeToString())
