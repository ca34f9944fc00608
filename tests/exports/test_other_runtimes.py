"""The lines of PyTorch in the card, and the ONNX file, against this package."""

import contextlib
import dataclasses
import importlib.util

import made_models
import numpy as np
import pytest
from tiers import NIGHTLY_ONLY

from mtra_jax.data.tokenizing import tokens
from mtra_jax.exports import onnx_file, onnx_graph, pytorch, weights
from mtra_jax.models import activations, pretrained
from mtra_jax.runs.trained import prediction, representation
from mtra_jax.train.backbone import Backbone

FORMS = ("ew", "mt_vib", "stl_cnn")  # each form of the layers before the heads
ROBERTA = {"model_type": "roberta", "type_vocab_size": 1, "hidden_act": "gelu_new"}


@pytest.fixture
def onnx():
    if importlib.util.find_spec("onnxruntime") is None:
        pytest.skip("onnxruntime is not installed")
    return pytest.importorskip("onnx", reason="onnx is not installed")


def made(name, **settings):
    """A model of a method; one of a single task if the method trains one per task."""
    tasks = made_models.TASKS[:1] if name == "stl_cnn" else made_models.TASKS
    return made_models.make_saved(name, settings.pop("tasks", tasks), **settings)


def by_pytorch(directory, saved, texts, second_texts=()):
    """Runs the lines of the card; returns the outputs of each task."""
    names = weights.to_tensors(saved.params).keys()
    lines = pytorch.lines(names, saved.config.data.max_length)
    names = {}
    exec(lines.replace('directory = "."', f"directory = {str(directory)!r}"), names)
    results = names["predict"](list(texts), list(second_texts) or None)
    return {name: values.numpy() for name, values in results.items()}


def by_onnx(directory, saved, texts, second_texts=()):
    """Runs the lines of the card for `model.onnx`; returns the outputs and z."""
    first, second = ([text.strip() for text in part] for part in (texts, second_texts))
    rows = list(zip(first, second, strict=True)) if second else first
    lines = onnx_file.lines(saved.config.data.max_length, repr(rows))
    names = {}
    with contextlib.chdir(directory):
        exec(lines, names)
    return names["results"]


def compare(results, saved, texts, second_texts=()):
    expected = prediction.Predictor([saved])(texts, second_texts)
    for task in saved.benchmark.tasks:
        # In units of the model's outputs, which the deviations scale.
        atol = 1e-4 * max(task.deviations, default=1.0)
        np.testing.assert_allclose(results[task.name], expected[task.name], atol=atol)
    if "z" in results:
        z = representation.Representer(saved)(texts, second_texts)
        np.testing.assert_allclose(results["z"], z, atol=1e-4)


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.parametrize("name", FORMS)
def test_the_lines_of_pytorch_predict_the_same(name, tmp_path):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    saved = made(name)
    directory = made_models.written(tmp_path / "model", saved)
    results = by_pytorch(directory, saved, made_models.TEXTS)
    compare(results, saved, made_models.TEXTS)
    spread = np.ptp(results["mood"], axis=0)
    assert spread.max() > 0.02, "the texts differ"


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMS)
def test_the_onnx_file_predicts_the_same(name, onnx, tmp_path):
    saved = made(name)
    directory = made_models.written(tmp_path / "model", saved)
    onnx_file.write(directory)
    onnx.checker.check_model(str(directory / onnx_file.FILE), full_check=True)
    compare(by_onnx(directory, saved, made_models.TEXTS), saved, made_models.TEXTS)
    alone = by_onnx(directory, saved, made_models.TEXTS[:1])
    compare(alone, saved, made_models.TEXTS[:1])


def test_the_onnx_file_of_a_roberta_predicts_the_same(onnx, tmp_path):
    saved = made("ew", **ROBERTA)
    directory = made_models.written(tmp_path / "model", saved)
    onnx_file.write(directory)
    compare(by_onnx(directory, saved, made_models.TEXTS), saved, made_models.TEXTS)


@pytest.mark.torch
def test_pairs_are_predicted_alike_everywhere(onnx, tmp_path):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    saved = made("ew", tasks=made_models.as_pairs(made_models.TASKS))
    directory = made_models.written(tmp_path / "model", saved)
    onnx_file.write(directory)
    texts = made_models.TEXTS, made_models.SECOND_TEXTS
    compare(by_pytorch(directory, saved, *texts), saved, *texts)
    compare(by_onnx(directory, saved, *texts), saved, *texts)


def test_weights_of_large_models_lie_beside_the_onnx_file(onnx, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_file, "LARGEST", 1000)
    saved = made("ew")
    directory = made_models.written(tmp_path / "model", saved)
    onnx_file.write(directory)
    assert (directory / onnx_file.WEIGHTS).stat().st_size > 1000
    compare(by_onnx(directory, saved, made_models.TEXTS), saved, made_models.TEXTS)


def test_every_activation_has_nodes():
    assert onnx_graph.ACTIVATIONS.keys() == activations.ACTIVATIONS.keys()


@pytest.mark.parametrize("name", onnx_graph.ACTIVATIONS)
def test_the_nodes_of_an_activation_compute_it(name, onnx):
    import onnxruntime

    graph = onnx_graph.Graph()
    output = onnx_graph.ACTIVATIONS[name](graph, "x")
    ends = [
        onnx.helper.make_tensor_value_info(end, onnx.TensorProto.FLOAT, ["n"])
        for end in ("x", output)
    ]
    made_graph = onnx.helper.make_graph(
        graph.nodes, name, ends[:1], ends[1:], list(graph.weights.values())
    )
    model = onnx.helper.make_model(
        made_graph,
        opset_imports=[onnx.helper.make_opsetid("", onnx_graph.OPSET)],
        ir_version=onnx_graph.FORMAT,
    )
    x = np.linspace(-40, 40, 4001, dtype=np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (values,) = session.run(None, {"x": x})
    expected = activations.ACTIVATIONS[name](x)
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=2e-6)


def test_a_task_with_the_name_of_an_array_is_refused(onnx):
    task = dataclasses.replace(made_models.TASKS[0], name="z")
    saved = made_models.make_saved(tasks=[task])
    with pytest.raises(onnx_file.InputError, match="'z'"):
        onnx_file.build(saved.backbone.config, {}, saved.benchmark)


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.torch
@pytest.mark.parametrize("count", [50, pytest.param(1000, marks=NIGHTLY_ONLY)])
def test_tweets_are_predicted_alike(count, onnx, minilm, shared_data, tmp_path):
    """MiniLM with random heads; padded there, packed here."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    config, params = pretrained.load_encoder(minilm)
    backbone = Backbone(
        config, params, tokens.load_tokenizer(minilm, config.vocab_size)
    )
    saved = made_models.make_saved(made=backbone, max_length=128)
    lines = (shared_data / "tweeteval/datasets/sentiment/test_text.txt").read_text()
    texts = lines.split("\n")[:count]
    directory = made_models.written(tmp_path / "model", saved)
    onnx_file.write(directory)
    compare(by_onnx(directory, saved, texts), saved, texts)
    compare(by_pytorch(directory, saved, texts), saved, texts)
