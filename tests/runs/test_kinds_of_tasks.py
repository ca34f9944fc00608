"""Whole runs on tasks of three kinds: units, thresholds, where the heads start, files."""

import contextlib
import json
from typing import NamedTuple

import jax
import numpy as np
import pytest

from mtra_jax import config as configs
from mtra_jax.data import benchmarks
from mtra_jax.data.built_in.sources import Examples
from mtra_jax.data.splits import targets
from mtra_jax.reports.predicted import predictions
from mtra_jax.runs.directory import checkpoints, metrics_log
from mtra_jax.runs.training import inputs, interfaces, loop, preparation, results
from mtra_jax.tasks import BENCHMARKS, Benchmark, Task
from mtra_jax.train import backbone, batching, build, evaluate
from mtra_jax.train.devices import choose_devices, replicate, to_host

SIZES = backbone.Sizes(
    vocab_size=200,
    hidden_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=32,
    dropout=0.0,
)
METHOD = build.MethodChoice("ew", {})
TASKS = (
    Task("irony", "Irony", "classification", ("no", "yes"), ("macro_f1",)),
    Task("stars", "Stars", "regression", ("stars",), ("pearson",)),
    Task("topics", "Topics", "multi_label", ("a", "b", "c"), ("micro_f1",)),
)


def make_examples(scale, offset):
    """The synthetic data; topics a and b are its polarity, c is in every fifth text."""
    synthetic = BENCHMARKS["synthetic"].select(["polarity", "irony", "intensity"])
    made = benchmarks.thin(
        synthetic, benchmarks.read_examples(synthetic, ""), fraction=0.1
    )
    polarity, irony, intensity = (made[task.name] for task in synthetic.tasks)
    stars = {
        split: part._replace(labels=part.labels * np.float32(scale) + offset)
        for split, part in intensity.items()
    }
    topics = {}
    for split, (texts, ids, *_) in polarity.items():
        columns = [ids == 0, ids == 2, np.arange(len(ids)) % 5 == 0]
        topics[split] = Examples(texts, np.stack(columns, axis=1).astype(np.float32))
    return {"irony": irony, "stars": stars, "topics": topics}


class Trained(NamedTuple):
    """A run in memory, its best parameters and progress."""

    prepared: preparation.Prepared
    params: object
    progress: loop.Progress
    directory: object
    log: list


def prepare(scale=1.0, offset=0.0):
    examples = make_examples(scale, np.float32(offset))
    train_examples = {name: parts["train"] for name, parts in examples.items()}
    benchmark = targets.resolved(
        Benchmark("own", TASKS),
        train_examples,
        standardize=True,
        class_weights="balanced",
        label_smoothing=0.1,
    )
    devices = choose_devices(1)
    texts = benchmarks.train_texts(benchmark, examples)
    made = backbone.load("", SIZES, texts, max_length=32, seed=0)
    corpora = benchmarks.build_corpora(
        benchmark, examples, made.tokenizer, max_length=32, cache_dir=None
    )
    sampling = batching.Sampling("per_task", batch_size=64, micro_batches=1, seed=0)
    schedule = batching.make_schedule(
        sampling,
        corpora["train"].sizes,
        epochs=2,
        patience=3,
        checkpoint_every=0,
        max_bad_steps=3,
    )
    train, splits = batching.make_batchers(
        sampling, corpora, devices, program_cost=1e6, max_shapes=1, is_apart=False
    )
    model = build.make_model(benchmark, made.config, dtype=np.float32, head_dropout=0.0)
    settings = build.Settings(
        np.float32(1e-2), np.int32(1), np.float32(1.0), METHOD.numbers()
    )
    biases = targets.base_rates(train_examples, benchmark)
    state = to_host(build.init_state(model, METHOD, settings, made.params, 0, biases))
    run = loop.Run(
        benchmark,
        schedule,
        build.make_update(model, METHOD, settings, devices, one_task=True),
        build.make_forward(model, METHOD, devices),
        train,
        splits["validation"],
        state,
        build.make_rate(settings),
    )
    read = inputs.Inputs(benchmark, examples, made, corpora, None, "")
    return preparation.Prepared(run, splits["test"], read, devices)


def fit(prepared, directory):
    run = prepared.run
    log = metrics_log.MetricsLog(directory, step=0)
    store = checkpoints.Checkpoints(directory / "checkpoints")
    params, progress = loop.fit(run, store, log, loop.Progress(), interfaces.Watch())
    log.close()
    store.close()
    lines = (directory / "metrics.jsonl").read_text().splitlines()
    return Trained(prepared, params, progress, directory, list(map(json.loads, lines)))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return fit(prepare(), tmp_path_factory.mktemp("units"))


def finish(run):
    log = metrics_log.MetricsLog(run.directory, step=run.progress.step)
    with contextlib.closing(log):
        return results.finish(
            run.directory, run.prepared, run.params, run.progress, evaluate.no_bar, log
        )


@pytest.fixture(scope="module")
def finished(trained):
    return finish(trained)


@pytest.mark.slow
def test_the_heads_start_at_the_base_rates(trained):
    """So the first outputs of an average text are the training set's shares."""
    heads = trained.prepared.run.state.params["heads"]
    train = {
        name: part["train"].labels
        for name, part in trained.prepared.inputs.examples.items()
    }
    np.testing.assert_array_equal(heads["stars"]["bias"], 0)
    counts = train["topics"].sum(axis=0)
    odds = (counts + 1) / (len(train["topics"]) - counts + 1)
    np.testing.assert_allclose(heads["topics"]["bias"], np.log(odds), rtol=1e-6)


@pytest.mark.slow
def test_thresholds_of_the_best_epoch_score_the_test_set(trained, finished):
    progress, prepared = trained.progress, trained.prepared
    placed = replicate(trained.params, prepared.devices, prepared.mapping)
    forward, benchmark = prepared.run.forward, prepared.run.benchmark
    validated = evaluate.evaluate(
        forward, placed, prepared.run.validation, benchmark, chooses_thresholds=True
    )
    assert progress.best_thresholds == validated.thresholds
    assert finished["thresholds"] == progress.best_thresholds
    assert set(progress.best_thresholds) == {"topics"}
    assert progress.best_thresholds["topics"] != [0.5] * 3

    # The record of a checkpoint gives them back after a resume.
    store = checkpoints.Checkpoints(trained.directory / "checkpoints")
    _, record = store.restore(store.best_step(), prepared.run.state._asdict())
    store.close()
    assert loop.Progress(**record).best_thresholds == progress.best_thresholds

    outputs, _ = evaluate.predict_outputs(forward, placed, prepared.test)
    num_topics = len(prepared.inputs.examples["topics"]["test"].texts)
    probabilities = 1 / (1 + np.exp(-outputs[-num_topics:, 3:]))
    expected = probabilities >= progress.best_thresholds["topics"]
    files = trained.directory / "predictions"
    topics = benchmark.select(["topics"]).tasks[0]
    actual = predictions.read_predictions(files, topics, len(expected))
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.slow
def test_another_unit_gives_the_same_training_and_its_own_predictions(
    trained, finished, tmp_path
):
    """The same values times 100 plus 7."""
    other = fit(prepare(100.0, 7.0), tmp_path)
    scored = finish(other)
    assert other.progress.best_epoch == trained.progress.best_epoch
    for actual, expected in zip(other.log, trained.log, strict=True):
        for key in expected:
            if key == "objective" or key.startswith(("loss/", "validation/loss")):
                np.testing.assert_allclose(actual[key], expected[key], rtol=1e-4)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4),
        other.params,
        trained.params,
    )
    stars = TASKS[1]
    size = scored["examples"]["stars"]["test"]
    one, hundred = (
        predictions.read_predictions(run.directory / "predictions", stars, size)
        for run in (trained, other)
    )
    np.testing.assert_allclose(hundred, 100 * one + 7, rtol=1e-4)
    assert scored["test"]["stars"]["pearson"] == pytest.approx(
        finished["test"]["stars"]["pearson"], rel=1e-4
    )


# ---- the configuration

SMALL = [
    ("tasks", "irony,intensity"),
    ("data.fraction", "0.3"),
    ("backbone.hidden_size", "16"),
    ("backbone.intermediate_size", "32"),
    ("backbone.num_hidden_layers", "1"),
    ("data.cache_dir", ""),
    ("devices", "1"),
]


def prepared_with(*overrides):
    config = configs.load("configs/mtra.py:new_synthetic", [*SMALL, *overrides])
    return preparation.prepare(config)


def test_the_keys_reach_the_tasks_and_the_heads():
    prepared = prepared_with(
        ("heads.start", "base_rate"),
        ("class_weights", "balanced"),
        ("label_smoothing", "0.2"),
        ("data.standardize", "True"),
    )
    irony, intensity = prepared.run.benchmark.tasks
    train = prepared.inputs.examples["irony"]["train"].labels
    expected = len(train) / (2 * np.bincount(train))
    np.testing.assert_allclose(irony.class_weights, expected)
    assert irony.label_smoothing == 0.2
    values = prepared.inputs.examples["intensity"]["train"].labels.astype(np.float64)
    np.testing.assert_allclose(intensity.means, values.mean(axis=0))
    np.testing.assert_allclose(intensity.deviations, values.std(axis=0))
    standardised = prepared.run.train.corpus.targets[len(train) :, 2]
    np.testing.assert_allclose(standardised.mean(), 0, atol=1e-6)
    np.testing.assert_allclose(standardised.std(), 1, rtol=1e-6)
    # Balanced classes have equal shares, up to the one example that each has more.
    biases = prepared.run.state.params["heads"]["irony"]["bias"]
    np.testing.assert_allclose(biases, np.log(1 / 2), atol=0.01)


def test_by_default_nothing_depends_on_the_labels():
    prepared = prepared_with()
    for task in prepared.run.benchmark.tasks:
        assert task.means == task.class_weights == ()
        head = prepared.run.state.params["heads"][task.name]
        np.testing.assert_array_equal(head["bias"], 0)
    values = prepared.inputs.examples["intensity"]["train"].labels
    corpus = prepared.run.train.corpus
    np.testing.assert_array_equal(
        corpus.targets[-len(values) :, 2:], np.float32(values)
    )
