"""Losses, predictions and scores of a split with given outputs."""

import json

import numpy as np
import pytest

from mtra_jax import metrics
from mtra_jax.data.packed import batches, plans
from mtra_jax.data.splits import targets
from mtra_jax.data.tokenizing.tokens import Tokens
from mtra_jax.tasks import Benchmark, Task
from mtra_jax.train import evaluate

BENCHMARK = Benchmark(
    "toy",
    (
        Task("stance", "Stance", "classification", ("a", "b", "c"), ("macro_f1",)),
        Task("mood", "Mood", "regression", ("V", "A"), ("pearson_v", "pearson_a")),
        Task("irony", "Irony", "classification", ("no", "yes"), ("irony_f1",)),
    ),
)
# The last batch of each task is partial; one task has one text more than a batch.
SIZES = (13, 9, 3)
NUM_EXAMPLES, NUM_SLOTS = sum(SIZES), 7
BATCH_SIZE = 8


def make_corpus():
    """Texts of unequal lengths; the first token of each is its number."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(2, 12, size=NUM_EXAMPLES)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = np.full(offsets[-1], 999, np.int32)
    ids[offsets[:-1]] = np.arange(NUM_EXAMPLES)
    tasks = np.repeat(np.arange(3, dtype=np.int32), SIZES)
    targets = np.zeros((NUM_EXAMPLES, NUM_SLOTS), np.float32)
    for row, task in enumerate(tasks):
        if task == 1:
            targets[row, 3:5] = rng.normal(size=2)
        else:
            width, start = (3, 0) if task == 0 else (2, 5)
            targets[row, start + row % width] = 1
    labels = (
        targets[:13, :3].argmax(axis=1),
        targets[13:22, 3:5],
        targets[22:, 5:].argmax(axis=1),
    )
    return batches.Corpus(Tokens(ids, offsets), tasks, targets, SIZES, labels)


def make_split(num_devices):
    batcher = batches.Batcher(
        make_corpus(), num_devices=num_devices, local_devices=range(num_devices)
    )
    return evaluate.Split(batcher, plans.plan_evaluation(SIZES, BATCH_SIZE))


class Forward:
    """In place of the compiled forward pass: outputs by text, losses by batch."""

    def __init__(self):
        rng = np.random.default_rng(1)
        self.outputs = rng.normal(size=(NUM_EXAMPLES, NUM_SLOTS))
        self.losses = rng.normal(size=(6, 3))
        self.calls = []

    def __call__(self, params, batch):
        self.calls.append(params)
        num_devices, _, _, size = batch.first_tokens.shape
        tokens = batch.tokens.reshape(num_devices, -1)
        outputs = np.full((size, num_devices, NUM_SLOTS), 1e6)
        for device in range(num_devices):
            for place in range(size):
                if batch.where[device, 0, place]:
                    text = tokens[device, batch.first_tokens[device, 0, 0, place]]
                    outputs[place, device] = self.outputs[text]
        losses = self.losses[len(self.calls) - 1]
        return outputs.reshape(-1, NUM_SLOTS), {"losses": losses, "terms": {}}


@pytest.mark.parametrize("num_devices", [1, 2, 8])
def test_outputs_are_in_the_order_of_the_examples(num_devices):
    forward, split = Forward(), make_split(num_devices)
    outputs, figures = evaluate.predict_outputs(forward, "params", split)
    np.testing.assert_array_equal(outputs, forward.outputs)
    assert len(split.plan) == 5
    np.testing.assert_array_equal(figures["losses"], forward.losses[:5])
    assert forward.calls == ["params"] * 5


@pytest.mark.parametrize("num_devices", [1, 4])
def test_evaluation(num_devices):
    forward = Forward()
    evaluation = evaluate.evaluate(forward, {}, make_split(num_devices), BENCHMARK)

    # Batches of 8 and 5, 8 and 1, and 3 texts; all texts have equal weight.
    batch_losses = forward.losses
    expected = {
        "stance": (8 * batch_losses[0, 0] + 5 * batch_losses[1, 0]) / 13,
        "mood": (8 * batch_losses[2, 1] + 1 * batch_losses[3, 1]) / 9,
        "irony": batch_losses[4, 2],
    }
    assert list(evaluation.losses) == list(expected)
    np.testing.assert_allclose(
        list(evaluation.losses.values()), list(expected.values()), rtol=1e-14
    )
    # All tasks have equal weight.
    np.testing.assert_allclose(evaluation.loss, sum(expected.values()) / 3, rtol=1e-14)

    outputs, targets = forward.outputs, make_corpus().targets
    predictions = {
        "stance": outputs[:13, :3].argmax(axis=1),
        "mood": outputs[13:22, 3:5],
        "irony": outputs[22:, 5:].argmax(axis=1),
    }
    labels = {
        "stance": targets[:13, :3].argmax(axis=1),
        "mood": targets[13:22, 3:5],
        "irony": targets[22:, 5:].argmax(axis=1),
    }
    assert list(evaluation.predictions) == list(predictions)
    for task in BENCHMARK.tasks:
        np.testing.assert_array_equal(
            evaluation.predictions[task.name], predictions[task.name]
        )
        scores = metrics.score(task, predictions[task.name], labels[task.name])
        assert evaluation.scores[task.name] == scores
        assert scores.keys() == set(task.metrics)


def test_the_terms_are_means_as_the_losses_are():
    forward, terms = Forward(), np.arange(15.0).reshape(5, 3) ** 2

    def with_terms(params, batch):
        outputs, measured = forward(params, batch)
        return outputs, {**measured, "terms": {"mi": terms[len(forward.calls) - 1]}}

    evaluation = evaluate.evaluate(with_terms, {}, make_split(1), BENCHMARK)
    assert list(evaluation.terms) == ["mi"]
    assert evaluation.terms["mi"] == {
        "stance": pytest.approx((8 * 0**2 + 5 * 3**2) / 13, rel=1e-14),
        "mood": pytest.approx((8 * 7**2 + 1 * 10**2) / 9, rel=1e-14),
        "irony": 14.0**2,
    }
    without = evaluate.evaluate(Forward(), {}, make_split(1), BENCHMARK)
    assert evaluation.losses == without.losses
    assert without.terms == {}


def test_correct_outputs_score_100():
    forward = Forward()
    forward.outputs = make_corpus().targets * 2.0
    evaluation = evaluate.evaluate(forward, {}, make_split(2), BENCHMARK)
    assert evaluation.scores["stance"] == {"macro_f1": 100.0}
    assert evaluation.scores["irony"] == {"irony_f1": 100.0}
    np.testing.assert_allclose(list(evaluation.scores["mood"].values()), [100, 100])


# ---- several labels, class weights, units


KINDS = Benchmark(
    "kinds",
    (
        Task(
            "stance",
            "Stance",
            "classification",
            ("a", "b", "c"),
            ("macro_f1",),
            class_weights=(0.5, 2.0, 3.0),
        ),
        Task(
            "mood",
            "Mood",
            "regression",
            ("V", "A"),
            ("pearson_v",),
            means=(50.0, -3.0),
            deviations=(10.0, 0.1),
        ),
        Task("tags", "Tags", "multi_label", ("p", "q"), ("micro_f1",)),
    ),
)
TAGS = np.array([[1, 0], [0, 0], [1, 0]], np.float32)


def kinds_split():
    """The corpus of `make_corpus`, with values in their unit and sets of labels."""
    corpus = make_corpus()
    ids, values, _ = corpus.labels
    corpus.targets[22:, 5:] = TAGS
    units = values.astype(np.float64) * (10.0, 0.1) + (50.0, -3.0)
    corpus = corpus._replace(labels=(ids, units, TAGS))
    plan = plans.plan_evaluation(SIZES, BATCH_SIZE)
    return evaluate.Split(batches.Batcher(corpus), plan)


def test_values_are_predicted_and_scored_in_their_unit(monkeypatch):
    forward, split, scored = Forward(), kinds_split(), {}

    def score(task, predictions, labels, probabilities):
        scored[task.name] = predictions, labels
        return dict.fromkeys(task.metrics, 1.0)

    monkeypatch.setattr(metrics, "score", score)
    evaluation = evaluate.evaluate(forward, {}, split, KINDS)
    assert scored["mood"][0] is evaluation.predictions["mood"]
    assert scored["mood"][1] is split.batcher.corpus.labels[1]
    expected = forward.outputs[13:22, 3:5] * (10.0, 0.1) + (50.0, -3.0)
    np.testing.assert_allclose(evaluation.predictions["mood"], expected, rtol=1e-14)


def test_thresholds_are_chosen_on_validation_and_used_on_test():
    """Label p: 0.2 and 0.3 are right and 0.1 is not. Label q never is."""
    forward, split = Forward(), kinds_split()
    share = np.array([[0.2, 0.9], [0.1, 0.6], [0.3, 0.1]])
    forward.outputs[22:, 5:] = np.log(share / (1 - share))
    before = evaluate.evaluate(forward, {}, split, KINDS)
    assert before.thresholds == {}
    np.testing.assert_array_equal(before.predictions["tags"], [[0, 1], [0, 1], [0, 0]])

    forward.calls.clear()
    chosen = evaluate.evaluate(forward, {}, split, KINDS, chooses_thresholds=True)
    (first, second) = chosen.thresholds["tags"]
    assert 0.1 < first <= 0.2
    assert second == 0.5
    assert json.loads(json.dumps(chosen.thresholds)) == chosen.thresholds
    np.testing.assert_array_equal(chosen.predictions["tags"], [[1, 1], [0, 1], [1, 0]])

    forward.calls.clear()
    later = targets.with_thresholds(KINDS, chosen.thresholds)
    tested = evaluate.evaluate(forward, {}, split, later)
    assert tested.thresholds == chosen.thresholds
    np.testing.assert_array_equal(
        tested.predictions["tags"], chosen.predictions["tags"]
    )
    assert tested.scores == chosen.scores


def test_outputs_that_are_not_finite_choose_no_threshold():
    forward = Forward()
    forward.outputs[23, 5] = np.nan
    evaluation = evaluate.evaluate(
        forward, {}, kinds_split(), KINDS, chooses_thresholds=True
    )
    assert evaluation.thresholds == {}
    assert evaluation.faults == {"tags": "1 of 3 outputs not finite"}


def test_batches_count_by_the_class_weights_of_their_examples():
    """So the loss is the weighted mean over the split, whatever the batch size."""
    forward = Forward()
    evaluation = evaluate.evaluate(forward, {}, kinds_split(), KINDS)
    weights = np.array([0.5, 2.0, 3.0])[np.arange(13) % 3]
    shares = [weights[:8].sum(), weights[8:].sum()]
    expected = np.average(forward.losses[:2, 0], weights=shares)
    np.testing.assert_allclose(evaluation.losses["stance"], expected, rtol=1e-14)
    expected = (8 * forward.losses[2, 1] + forward.losses[3, 1]) / 9
    np.testing.assert_allclose(evaluation.losses["mood"], expected, rtol=1e-14)


def test_the_bar_gets_every_batch():
    shown = []

    def bar(items, total):
        assert total == 5
        for item in items:
            shown.append(item[1]["losses"])
            yield item

    forward = Forward()
    evaluate.evaluate(forward, {}, make_split(1), BENCHMARK, bar)
    np.testing.assert_array_equal(shown, forward.losses[:5])


def test_the_next_batch_runs_while_a_result_is_read():
    """The device must not wait for the host: two batches start before one is read."""
    events = []
    forward = Forward()

    def noted(params, batch):
        events.append("start")
        return forward(params, batch)

    def bar(items, total):
        assert total == 5
        for item in items:
            events.append("read")
            yield item

    evaluate.predict_outputs(noted, {}, make_split(1), bar)
    assert events == ["start", *["start", "read"] * 4, "read"]
