"""Scales, class weights, base rates and targets; outputs read back; label noise."""

import dataclasses

import numpy as np
import pytest

from mtra_jax import metrics
from mtra_jax.data.own_tasks import task_file
from mtra_jax.data.packed import batches
from mtra_jax.data.splits import fingerprints, noise, readout, targets
from mtra_jax.data.splits.examples import Examples
from mtra_jax.data.tokenizing import tokens
from mtra_jax.errors import InputError
from mtra_jax.tasks import TWEETEVAL, Benchmark, Task

CLASSES = Task("topic", "Topic", "classification", ("a", "b", "c"), ("macro_f1",))
VALUES = Task("stars", "Stars", "regression", ("x", "y"), ("pearson",))
LABELS = Task("tags", "Tags", "multi_label", ("p", "q", "r"), ("micro_f1",))
BENCHMARK = Benchmark("own", (CLASSES, VALUES, LABELS))

IDS = np.array([0, 0, 0, 1, 0, 1, 0, 0], np.int32)  # six, two, none
NUMBERS = np.array([[39.0, -1.0], [73.0, 1.0], [50.0, 1.0], [38.0, -1.0]], np.float32)
SETS = np.array([[1, 0, 0], [1, 1, 0], [1, 0, 0]], np.float32)
EXAMPLES = {
    name: Examples(["text"] * len(labels), labels)
    for name, labels in {"topic": IDS, "stars": NUMBERS, "tags": SETS}.items()
}


def resolve(*changed, **options):
    tasks = {task.name: task for task in (*BENCHMARK.tasks, *changed)}
    benchmark = Benchmark("own", tuple(tasks.values()))
    return targets.resolved(benchmark, EXAMPLES, **options)


def of(benchmark, name):
    return benchmark.select([name]).tasks[0]


def test_only_regression_is_standardised():
    """Means 50 and 0; deviations of the population, so squares are divided by 4."""
    resolved = resolve(standardize=True)
    stars = of(resolved, "stars")
    assert stars.means == (50.0, 0.0)
    assert stars.deviations == pytest.approx((np.sqrt((121 + 529 + 0 + 144) / 4), 1.0))
    assert all(of(resolved, name).means == () for name in ("topic", "tags"))
    assert of(resolve(), "stars").means == ()


def test_values_beside_a_large_mean_keep_their_digits():
    """Seconds of a day in 2023: float32 has steps of 128 there."""
    times = 1_700_000_000 + 10 * np.arange(60)
    task = Task("t", "T", "regression", ("seconds",), ("rmse",))
    pairs = [(f"text {n}", int(value)) for n, value in enumerate(times)]
    part = task_file.examples(task, pairs)
    assert part.labels.dtype == np.float64
    np.testing.assert_array_equal(part.labels[:, 0], times)
    own = Benchmark("own", (task,))
    resolved = targets.resolved(own, {"t": part}, standardize=True).tasks[0]
    standardised = targets.of_labels(resolved, part.labels)
    expected = (times - times.mean()) / times.std()
    np.testing.assert_allclose(standardised[:, 0], expected, rtol=1e-6)
    predicted = readout.predictions(resolved, standardised)
    np.testing.assert_allclose(predicted[:, 0], times, rtol=0, atol=1e-4)
    assert metrics.score(task, predicted, part.labels)["rmse"] < 1e-4


def test_hashes_of_values_are_those_of_float32_unless_it_merges_some():
    texts, values = ["a", "b"], np.array([[0.1], [2.5]])
    hashes = [
        fingerprints.of_splits({"t": {"test": Examples(texts, own)}})["t"]["test"]
        for own in (values, values.astype(np.float32))
    ]
    assert hashes[0] == hashes[1]
    large = [Examples(texts, np.array([[1.7e9], [1.7e9 + step]])) for step in (10, 20)]
    one, other = (fingerprints.of_splits({"t": {"test": part}}) for part in large)
    assert one != other
    for values in ([0.1], [0.3, 0.3, 0.3], [36.61, 36.62, 36.7]):
        labels = np.array(values)[:, None]
        own, narrow = (
            fingerprints.of_splits({"t": {"test": Examples(["a"] * len(values), part)}})
            for part in (labels, labels.astype(np.float32))
        )
        assert own == narrow
    days = np.array([[1.7e9], [1.7e9 + 86400], [1.7e9 + 172800]])
    moved = [Examples(["a", "b", "c"], days + seconds) for seconds in (0, 40)]
    one, other = (fingerprints.of_splits({"t": {"test": part}}) for part in moved)
    assert one != other


def test_defaults_change_no_training():
    resolved = targets.resolved(
        TWEETEVAL.select(["irony"]), {"irony": EXAMPLES["topic"]}
    )
    assert resolved.tasks[0].class_weights == ()
    assert resolved.tasks[0].label_smoothing == 0
    assert targets.slot_weights(resolved) is None
    assert targets.smoothings(resolved) is None
    assert targets.slot_weights(TWEETEVAL) is None


def test_balanced_weights_are_the_inverse_shares():
    """Eight examples, two classes that occur: 8 / (2 * 6) and 8 / (2 * 2)."""
    resolved = resolve(class_weights="balanced", label_smoothing=0.1)
    assert of(resolved, "topic").class_weights == pytest.approx((2 / 3, 2.0, 1.0))
    assert [task.label_smoothing for task in resolved.tasks] == [0.1, 0.0, 0.0]
    expected = [2 / 3, 2, 1, 1, 1, 1, 1, 1]
    np.testing.assert_allclose(targets.slot_weights(resolved), expected)
    np.testing.assert_array_equal(targets.smoothings(resolved), [0.1, 0, 0])
    # Together the examples weigh as much as without weights.
    assert sum(np.array(of(resolved, "topic").class_weights)[IDS]) == pytest.approx(8)


def test_a_task_may_set_its_own_weights_and_smoothing():
    own = dataclasses.replace(CLASSES, class_weights=(1, 2, 4), label_smoothing=0.0)
    topic = of(resolve(own, class_weights="balanced", label_smoothing=0.2), "topic")
    assert topic.class_weights == (1.0, 2.0, 4.0)
    assert topic.label_smoothing == 0
    none = dataclasses.replace(CLASSES, class_weights="none")
    assert of(resolve(none, class_weights="balanced"), "topic").class_weights == ()
    balanced = dataclasses.replace(CLASSES, class_weights="balanced")
    assert of(resolve(balanced), "topic").class_weights == pytest.approx((2 / 3, 2, 1))
    with pytest.raises(ValueError, match="resolved first"):
        targets.slot_weights(Benchmark("own", (balanced,)))


FAULTS = {
    "two weights": (CLASSES, {"class_weights": (1.0, 2.0)}, "expected none, balanced"),
    "no weight": (CLASSES, {"class_weights": (1.0, 0.0, 2.0)}, "of more than 0"),
    "not a number": (CLASSES, {"class_weights": (1.0, np.nan, 2.0)}, "finite"),
    "a name": (CLASSES, {"class_weights": "balance"}, "expected none, balanced"),
    "of values": (VALUES, {"class_weights": (1.0, 2.0)}, "of a regression task"),
    "of labels": (LABELS, {"class_weights": "balanced"}, "of a multi_label task"),
    "smoothing of 1": (CLASSES, {"label_smoothing": 1.0}, "less than 1"),
    "smoothed values": (VALUES, {"label_smoothing": 0.1}, "of a regression task"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_options_that_do_not_fit_are_refused(case):
    task, fields, message = FAULTS[case]
    with pytest.raises(InputError, match=message) as error:
        resolve(dataclasses.replace(task, **fields))
    assert str(error.value).startswith(f"task {task.name}: ")
    assert "\n" not in str(error.value)


def test_a_constant_dimension_is_refused():
    examples = {**EXAMPLES, "stars": Examples(["a"] * 2, NUMBERS[1:3])}
    message = (
        "task stars: all 2 training values of 'y' are 1; expected different values"
    )
    with pytest.raises(InputError, match=message):
        targets.resolved(BENCHMARK, examples, standardize=True)


def test_base_rates_are_those_of_the_training_examples():
    """One more example of each class; one more with and one more without each label."""
    actual = targets.base_rates(EXAMPLES, resolve())
    assert actual.dtype == np.float32
    classes = np.log(np.array([7, 3, 1]) / 11)
    labels = np.log([4 / 1, 2 / 3, 1 / 4])
    expected = [*classes, 50, 0, *labels]
    np.testing.assert_allclose(actual, expected, rtol=1e-6)
    standardised = targets.base_rates(EXAMPLES, resolve(standardize=True))
    np.testing.assert_array_equal(standardised[3:5], 0)


def test_base_rates_minimise_the_weighted_and_smoothed_loss():
    resolved = resolve(class_weights="balanced", label_smoothing=0.3)
    shares = np.exp(targets.base_rates(EXAMPLES, resolved)[:3].astype(np.float64))
    # Each class with one example more, each example with 0.3 spread over the classes.
    counts = np.array([7.0, 3.0, 1.0])
    smoothed = 0.7 * counts + 0.3 * counts.sum() / 3
    weighted = smoothed * of(resolved, "topic").class_weights
    np.testing.assert_allclose(shares, weighted / weighted.sum(), rtol=1e-6)


def test_the_corpus_has_targets_of_all_kinds_and_the_labels_as_they_are():
    resolved = resolve(standardize=True, label_smoothing=0.1)
    sizes = (len(IDS), len(NUMBERS), len(SETS))
    texts = tokens.Tokens(np.zeros(15, np.int32), np.arange(16))
    corpus = batches.build_corpus(resolved, EXAMPLES, texts)
    assert corpus.sizes == sizes
    assert corpus.targets.dtype == np.float32
    expected = np.zeros((15, 8))
    expected[:8, :3] = np.eye(3)[IDS]
    expected[8:12, 3:5] = (NUMBERS - [50, 0]) / [np.sqrt(198.5), 1]
    expected[12:, 5:] = SETS
    np.testing.assert_allclose(corpus.targets, expected, rtol=1e-6)
    for actual, labels in zip(corpus.labels, (IDS, NUMBERS, SETS), strict=True):
        np.testing.assert_array_equal(actual, labels)


def test_standardised_targets_are_read_back_in_the_unit():
    """Around a mean of a million float32 has steps of 0.06; the reading has none."""
    values = 1e6 + np.array([[0.1], [0.2], [0.4]])
    task = dataclasses.replace(
        VALUES, labels=("x",), means=(1e6 + 0.2,), deviations=(0.5,)
    )
    outputs = targets.of_labels(task, values)
    assert outputs.dtype == np.float32
    actual = readout.predictions(task, outputs)
    np.testing.assert_allclose(actual, values, rtol=0, atol=1e-7)


def test_predictions_without_a_scale_are_the_outputs():
    outputs = np.array([[0.1, 2.0]], np.float32)
    assert readout.predictions(VALUES, outputs) is outputs
    assert readout.probabilities(VALUES, outputs) is None


def test_a_label_is_predicted_from_its_threshold_on():
    outputs = np.log(np.array([[1.0, 3.0, 1 / 3]], np.float32))  # 1/2, 3/4, 1/4
    np.testing.assert_allclose(
        readout.probabilities(LABELS, outputs), [[0.5, 0.75, 0.25]], rtol=1e-6
    )
    np.testing.assert_array_equal(readout.predictions(LABELS, outputs), [[1, 1, 0]])
    chosen = dataclasses.replace(LABELS, thresholds=(0.6, 0.7, 0.2))
    np.testing.assert_array_equal(readout.predictions(chosen, outputs), [[0, 1, 1]])


def test_probabilities_of_extreme_outputs_are_finite():
    outputs = np.array([[1e30, -1e30, 0.0]], np.float32)
    for task, expected in ((CLASSES, [1, 0, 0]), (LABELS, [1, 0, 0.5])):
        np.testing.assert_array_equal(readout.probabilities(task, outputs), [expected])


def test_thresholds_are_set_by_name():
    benchmark = targets.with_thresholds(BENCHMARK, {"tags": [0.1, 0.2, 0.3]})
    assert of(benchmark, "tags").thresholds == (0.1, 0.2, 0.3)
    assert benchmark.tasks[:2] == BENCHMARK.tasks[:2]
    assert targets.with_thresholds(benchmark, None) == benchmark


def test_noise_draws_whole_sets_of_labels():
    rng = np.random.default_rng(0)
    kinds = np.array([[1, 1, 0], [0, 0, 1]], np.float32)
    labels = kinds[rng.integers(2, size=400)]
    flipped = noise.flip_labels(labels, None, 0.5, rng)
    assert {tuple(row) for row in flipped} == {tuple(row) for row in kinds}
    changed = (flipped != labels).any(axis=1).mean()
    assert changed == pytest.approx(0.25, abs=0.05)  # half of the drawn sets are equal
