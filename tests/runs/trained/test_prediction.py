"""Predictions of all tasks against one text at a time, and the shapes of their batches."""

import jax
import numpy as np
import pytest
from scipy import special

from mtra_jax import config as configs
from mtra_jax.data.packed import packing
from mtra_jax.errors import InputError
from mtra_jax.runs.directory import best_model
from mtra_jax.runs.trained import prediction, representation
from mtra_jax.runs.training import choices, inputs
from mtra_jax.tasks import Benchmark, Task
from mtra_jax.train import build
from mtra_jax.train.devices import to_host
from mtra_jax.types import Batch

WORDS = [
    "so",
    "good",
    "a",
    "day",
    "what",
    "bad",
    "grim",
    "fine",
    "it",
    "was",
    "never",
    "again",
]
TASKS = (
    Task("mood", "Mood", "classification", ("sad", "glad", "so-so"), ("macro_f1",)),
    Task(
        "stars",
        "Stars",
        "regression",
        ("stars", "price"),
        ("pearson",),
        means=(50.0, -3.0),
        deviations=(10.0, 0.5),
    ),
    Task("topics", "Topics", "multi_label", ("food", "travel"), ("macro_f1",)),
    Task("raw", "Raw", "regression", ("raw",), ("pearson",)),
)


def make_saved(tasks):
    """A model as it is before training, of the size of a toy."""
    config = configs.preset("new_synthetic", "ew")
    config.data.cache_dir, config.data.max_length = "", 600
    config.backbone.update({"hidden_size": 8, "intermediate_size": 8})
    config.backbone.update({"num_hidden_layers": 2, "vocab_size": 60})
    benchmark = Benchmark("toy", tasks)
    backbone = inputs.load_backbone(config, WORDS)
    model = choices.make_model(config, benchmark, backbone.config)
    method = build.make_method(model, choices.method_of(config))
    params = build.init_params(model, method, backbone.params, jax.random.key(0))
    # Weights of heads start small; larger ones spread the outputs.
    params["heads"] = jax.tree.map(lambda x: 30 * x, params["heads"])
    return best_model.Saved(config, benchmark, backbone, params, None)


@pytest.fixture(scope="module")
def saved():
    return make_saved(TASKS)


@pytest.fixture(scope="module")
def predictor(saved):
    return prediction.Predictor([saved])


def random_texts(count, longest, seed=0):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(0, longest, count)
    return [" ".join(rng.choice(WORDS, size)) for size in sizes]


def alone(saved, text):
    """Raw outputs [L] of one text in one row that it fills, without a compiled program."""
    ids = np.array(saved.backbone.tokenizer.encode(text).ids, np.int32)
    row, none = ids[None, None], np.zeros((1, 1), np.int32)
    batch = Batch(
        tokens=row,
        segments=np.ones_like(row),
        types=np.zeros_like(row),
        positions=np.arange(len(ids), dtype=np.int32)[None, None],
        first_tokens=none,
        where=np.array([True]),
        tasks=none[0],
        targets=np.zeros((1, saved.benchmark.num_slots), np.float32),
        partners=none[0],
    )
    model = choices.make_model(saved.config, saved.benchmark, saved.backbone.config)
    _, outputs = model.represent_and_predict(saved.params, batch, None)
    return np.asarray(outputs)[0].astype(np.float64)


@pytest.mark.slow
def test_all_tasks_of_packed_texts_are_those_of_each_text_alone(saved, predictor):
    texts = [*random_texts(9, 40), "", *random_texts(1, 150, seed=1)]
    result = predictor(texts)
    raw = np.stack([alone(saved, text) for text in texts])
    expected = {
        "mood": special.softmax(raw[:, :3], axis=1),
        "stars": np.stack([raw[:, 3] * 10 + 50, raw[:, 4] * 0.5 - 3], axis=1),
        "topics": special.expit(raw[:, 5:7]),
        "raw": raw[:, 7:],
    }
    assert list(result) == list(expected)
    assert np.ptp(expected["mood"]) > 0.1
    for name, values in expected.items():
        assert result[name].dtype == np.float64
        np.testing.assert_allclose(result[name], values, rtol=1e-4, atol=1e-4)


def test_texts_are_answered_in_their_order(predictor):
    texts = random_texts(50, 90, seed=2)
    forwards, backwards = predictor(texts), predictor(texts[::-1])
    for name, values in forwards.items():
        np.testing.assert_allclose(values, backwards[name][::-1], atol=1e-4)


def test_models_are_on_the_first_device_of_their_process(saved, monkeypatch):
    """In process 1 of a run that is not the first device of all."""
    first, read = jax.devices()[4], saved._replace(params=to_host(saved.params))
    monkeypatch.setattr(jax, "local_devices", lambda: jax.devices()[4:])
    (model,) = prediction.Predictor([read])._models
    for params in (model._params, representation.Representer(read)._params):
        devices = {device for x in jax.tree.leaves(params) for device in x.devices()}
        assert devices == {first}


def test_no_text_gives_no_row(predictor):
    shapes = {name: values.shape for name, values in predictor([]).items()}
    assert shapes == {"mood": (0, 3), "stars": (0, 2), "topics": (0, 2), "raw": (0, 1)}


def test_extreme_outputs_are_probabilities():
    outputs = np.array([[-1e4, 1e4]], np.float32)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        assert prediction.in_units(TASKS[2], outputs).tolist() == [[0, 1]]
    np.testing.assert_array_equal(prediction.in_units(TASKS[0], outputs), [[0, 1]])


@pytest.mark.slow
def test_models_of_single_tasks_answer_together(saved):
    first, second = make_saved(TASKS[:1]), make_saved(TASKS[1:])
    both = prediction.Predictor([first, second])
    assert [task.name for task in both.tasks] == [task.name for task in TASKS]
    texts = random_texts(5, 20)
    for part in (first, second):
        for name, values in prediction.Predictor([part])(texts).items():
            np.testing.assert_array_equal(both(texts)[name], values)
    chosen = prediction.Predictor([first], ["mood"])
    assert list(chosen(texts)) == ["mood"]


def test_single_texts_and_pairs_have_their_tasks(saved):
    pair = Task("same", "Same", "classification", ("no", "yes"), ("f1",), is_pair=True)
    mixed = prediction.Predictor([make_saved((*TASKS[:1], pair))])
    assert [task.name for task in mixed.tasks_for(has_pairs=True)] == ["same"]
    assert list(mixed(["so good"])) == ["mood"]
    with pytest.raises(InputError, match=r"^mood, .*raw: expected one text"):
        prediction.Predictor([saved])(["a"], ["b"])
    with pytest.raises(ValueError, match="must have 1 texts; found 2"):
        mixed(["a"], ["b", "c"])


# ---- shapes


@pytest.mark.parametrize("seed", range(20))
def test_a_plan_holds_every_text_once_and_every_batch_fits(seed):
    rng = np.random.default_rng(seed)
    size = int(rng.integers(1, 3000))
    lengths = np.minimum(rng.geometric(1 / rng.integers(2, 200), size) + 1, 700)
    planned = prediction.plan(lengths, 700)
    batches = [(shape, row) for shape, rows in planned.items() for row in rows]
    texts = np.concatenate([row[row >= 0] for _, row in batches])
    np.testing.assert_array_equal(np.sort(texts), np.arange(size))
    for shape, row in batches:
        own = lengths[row[row >= 0]]
        packed = packing.first_fit_decreasing(own, shape.row_length)
        assert packed.num_rows <= shape.num_rows
    per_length = [shape.row_length for shape in planned]
    assert all(per_length.count(length) <= 3 for length in per_length)
    assert set(per_length) <= {64, 128, 256, 512, 700}


def test_plans_of_many_tweets_have_one_shape_and_little_padding():
    rng = np.random.default_rng(0)
    shapes = set()
    for _ in range(10):
        lengths = rng.integers(8, 60, 1024)
        planned = prediction.plan(lengths, 256)
        shapes |= set(planned)
        places = sum(shape.num_tokens * len(rows) for shape, rows in planned.items())
        assert lengths.sum() / places > 0.85
    assert shapes == {packing.Shape(32, 64)}
    assert list(prediction.plan(np.array([20]), 256)) == [packing.Shape(1, 64)]
    assert list(prediction.plan(np.full(10, 20), 256)) == [packing.Shape(8, 64)]


def test_a_long_text_shares_its_rows_with_short_ones():
    lengths = np.array([10] * 30 + [100])
    planned = prediction.plan(lengths, 256)
    (first, *_) = planned[packing.Shape(1, 128)]
    assert first[0] == 30
    assert (first >= 0).sum() == 3  # 100 + 10 + 10 of 128
