"""A trained model in Python: predictions, representations, figures, wrong calls."""

import math

import compilations
import numpy as np
import pytest
import trained_models

import mtra_jax
from mtra_jax.api.model import prediction
from mtra_jax.data.tokenizing import tokens
from mtra_jax.models.encoder import Encoder
from mtra_jax.runs.directory import best_model

TEXTS = ["the room was lovely", "the food was awful, day 3"]
PAIRS = [(text, "it was good") for text in TEXTS]


def test_a_classification_has_a_label_and_probabilities(model):
    for one in model.predict(TEXTS, task="mood"):
        assert isinstance(one, mtra_jax.Prediction)
        assert [*one.probabilities] == ["bad", "good"]
        assert math.isclose(sum(one.probabilities.values()), 1, abs_tol=1e-6)
        assert one.label == max(one.probabilities, key=one.probabilities.get)


def test_labels_are_those_from_their_thresholds_on(model):
    (task,) = (task for task in model.tasks if task.name == "topics")
    assert len(task.thresholds) == 3
    one = prediction(
        task, np.array([task.thresholds[0], task.thresholds[1] - 1e-6, 2.0])
    )
    assert one.labels == ("room", "staff")
    assert one.label is None


def test_values_are_in_the_unit_of_the_data(model):
    values = [one.values["stars"] for one in model.predict(TEXTS, task="stars")]
    assert all(10 < value < 100 for value in values)


def test_without_a_task_all_that_read_such_texts_are_predicted(model):
    single, pairs = model.predict(TEXTS), model.predict(PAIRS)
    assert [[*one] for one in single] == [["mood", "topics", "stars"]] * 2
    assert [[*one] for one in pairs] == [["agree"]] * 2
    assert [one["mood"] for one in single] == model.predict(TEXTS, task="mood")
    assert [one["agree"] for one in pairs] == model.predict(PAIRS, task="agree")


def test_outputs_that_are_not_finite_have_no_label(model):
    assert prediction(model.tasks[0], np.array([np.nan, np.nan])).label is None


def test_no_texts_give_no_predictions(model):
    assert model.predict([]) == model.predict([], task="mood") == []
    assert model.encode([]).shape == (0, 16)


def test_z_is_the_state_of_the_first_token(model, run):
    """Against the encoder on one text at a time, without packing."""
    saved = best_model.load_one(run, cache_dir="")
    z = model.encode([f" {TEXTS[0]}\n", TEXTS[1]])
    assert z.dtype == np.float32
    for text, row in zip(TEXTS, z, strict=True):
        ids = tokens.encode(saved.backbone.tokenizer, [text], 32).ids[None]
        hidden = Encoder(saved.backbone.config).apply(
            {"params": saved.params["encoder"]},
            ids,
            np.ones_like(ids),
            np.arange(ids.size)[None],
            deterministic=True,
        )
        np.testing.assert_allclose(row, hidden[0, 0], atol=1e-5)


def test_figures_are_those_of_the_run(model):
    figures = model.evaluate(trained_models.own_tasks())
    assert figures.keys() == model.results["test"].keys()
    for task, values in model.results["test"].items():
        assert figures[task] == pytest.approx(values, abs=1e-3)


def test_some_tasks_can_be_evaluated_alone(model):
    task, parts = trained_models.own_tasks()[2]
    figures = model.evaluate([(task, parts)], split="validation")
    assert figures["stars"] == pytest.approx(
        model.results["validation"]["stars"], abs=1e-3
    )


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        (lambda m: m.predict("a text", task="mood"), "expected a list of texts"),
        (lambda m: m.predict(["a", 3]), r"texts\[1\] is 3; expected a text"),
        (
            lambda m: m.predict([("a", "b", "c")]),
            r"texts\[0\].*expected a text, or a pair",
        ),
        (
            lambda m: m.predict(["a"], task="moot"),
            "unknown task 'moot'; did you mean mood",
        ),
        (lambda m: m.predict(["a"], task="agree"), "agree: expected pairs of texts"),
        (lambda m: m.predict([("a", "b")], task="mood"), "mood: expected single texts"),
        (lambda m: m.encode("a text"), "expected a list of texts"),
        (
            lambda m: m.predict({"text": ["a"]}),
            "texts is a dict; expected the texts of",
        ),
        (
            lambda m: m.evaluate([trained_models.own_tasks()[0]] * 2),
            "mood is there twice",
        ),
        (lambda m: m.evaluate("no.toml"), "no such file"),
        (
            lambda m: m.evaluate([]),
            r"^tasks is \[\]; expected a benchmark, a TOML file, or a list of \(Task, {",
        ),
        (lambda m: m.evaluate("synthetic"), "the model has none of them"),
        (
            lambda m: m.evaluate(trained_models.own_tasks(), split="tset"),
            "did you mean test",
        ),
    ],
)
def test_a_wrong_call_is_one_line(model, call, fault):
    with pytest.raises(mtra_jax.InputError, match=fault) as error:
        call(model)
    assert "\n" not in str(error.value)


def test_later_calls_compile_nothing(model):
    texts = [f"the room was good, day {n}" for n in range(30)]
    model.predict(texts[:1]), model.predict(texts[:9]), model.encode(texts[:9])
    with compilations.counted() as compiled:
        model.predict(texts[1:2]), model.predict(texts[:5]), model.encode(texts[2:8])
    assert not compiled
