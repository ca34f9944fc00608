"""The training loop on plain arguments, as in a notebook: no configuration, no files."""

import copy
import math

import jax
import numpy as np
import pytest

from mtra_jax.data import benchmarks
from mtra_jax.runs.training import interfaces, loop, selection
from mtra_jax.tasks import BENCHMARKS
from mtra_jax.train import backbone, batching, build
from mtra_jax.train.devices import choose_devices, to_host

SIZES = backbone.Sizes(
    vocab_size=200,
    hidden_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=32,
    dropout=0.0,
)
METHOD = build.MethodChoice("ew", {})
MAX_LENGTH = 32


class MemoryStore:
    """Keeps every checkpoint in a dictionary: step -> (state, record, score)."""

    def __init__(self):
        self.checkpoints = {}

    def save(self, step, state, record, score):
        self.checkpoints[step] = copy.deepcopy((state, record, score))

    def best_step(self):
        return min(self.checkpoints, key=lambda step: self.checkpoints[step][2])

    def restore(self, step, target):
        assert jax.tree.structure(target) == jax.tree.structure(
            self.checkpoints[step][0]
        )
        return self.checkpoints[step][:2]

    def restore_latest(self, target, say):
        if not self.checkpoints:
            return None
        step = max(self.checkpoints)
        return step, *self.restore(step, target)


class MemoryLog:
    def __init__(self):
        self.lines, self.num_flushes = [], 0

    def add(self, step, values):
        self.lines.append({"step": step, **values})

    def diagnose(self, step, values):
        self.lines.append({"step": step, **values})

    def flush(self):
        self.num_flushes += 1


class Recorder:
    """The callbacks of a run, and what they were called with."""

    def __init__(self, stop_at=None):
        self.steps, self.epochs, self.stop_at = [], [], stop_at
        self.bounds, self.said = [], []

    def step(self, step, epoch, flat, num_examples):
        self.steps.append((step, epoch, num_examples))

    def epoch(self, epoch, loss, summary, progress, bounds):
        self.epochs.append((epoch, loss, progress.step))
        self.bounds.append(bounds)

    def should_stop(self, step):
        return step is not None and step == self.stop_at

    def watch(self):
        return interfaces.Watch(
            self.step, self.epoch, say=self.said.append, should_stop=self.should_stop
        )


def make_run(epochs=2, seed=0, method=METHOD, rate=1e-2):
    benchmark = BENCHMARKS["synthetic"].select(["irony", "intensity"])
    devices = choose_devices(1)
    examples = benchmarks.read_examples(benchmark, "")
    examples = benchmarks.thin(benchmark, examples, fraction=0.1)
    texts = benchmarks.train_texts(benchmark, examples)
    made = backbone.load("", SIZES, texts, max_length=MAX_LENGTH, seed=seed)
    corpora = benchmarks.build_corpora(
        benchmark, examples, made.tokenizer, max_length=MAX_LENGTH, cache_dir=None
    )
    sampling = batching.Sampling("per_task", batch_size=64, micro_batches=1, seed=seed)
    schedule = batching.make_schedule(
        sampling,
        corpora["train"].sizes,
        epochs=epochs,
        patience=3,
        checkpoint_every=0,
        max_bad_steps=3,
    )
    train, splits = batching.make_batchers(
        sampling, corpora, devices, program_cost=1e6, max_shapes=1, is_apart=False
    )
    model = build.make_model(benchmark, made.config, dtype=np.float32, head_dropout=0.0)
    settings = build.Settings(
        np.float32(rate), np.int32(1), np.float32(1.0), method.numbers()
    )
    state = build.init_state(model, method, settings, made.params, seed)
    return loop.Run(
        benchmark,
        schedule,
        build.make_update(model, method, settings, devices, one_task=True),
        build.make_forward(model, method, devices),
        train,
        splits["validation"],
        to_host(state),
        build.make_rate(settings),
    )


def fit(run, stop_at=None, store=None):
    store, log, callbacks = store or MemoryStore(), MemoryLog(), Recorder(stop_at)
    run, progress = loop.resume(run, store, callbacks.said.append)
    try:
        params, progress = loop.fit(run, store, log, progress, callbacks.watch())
    except loop.Stopped as stopped:
        return stopped, store, log, callbacks
    return (params, progress), store, log, callbacks


@pytest.fixture(scope="module")
def run():
    return make_run()


@pytest.fixture(scope="module")
def whole(run):
    return fit(run)


def test_the_protocols_are_those_of_the_loop():
    """The stand-ins have every member of the protocols."""
    for protocol, kind in (
        (interfaces.Store, MemoryStore),
        (interfaces.Log, MemoryLog),
    ):
        names = {name for name in vars(protocol) if not name.startswith("_")}
        assert names <= vars(kind).keys()


@pytest.mark.slow
def test_every_step_and_epoch_is_reported_and_saved(run, whole):
    (params, progress), store, log, callbacks = whole
    per_epoch = run.schedule.steps_per_epoch
    assert progress.step == 2 * per_epoch
    assert [step for step, _, _ in callbacks.steps] == [*range(1, progress.step + 1)]
    visited = sum(count for _, epoch, count in callbacks.steps if epoch == 1)
    assert visited == sum(run.train.corpus.sizes)
    assert [(e, step) for e, _, step in callbacks.epochs] == [
        (1, per_epoch),
        (2, 2 * per_epoch),
    ]
    assert [*store.checkpoints] == [per_epoch, 2 * per_epoch]
    assert callbacks.said == []
    assert log.num_flushes == 2
    validated = [x["validation/loss"] for x in log.lines if "validation/loss" in x]
    assert validated == [loss for _, loss, _ in callbacks.epochs]
    assert progress.best_loss == min(validated)
    best = store.checkpoints[progress.best_epoch * per_epoch][0]["params"]
    jax.tree.map(np.testing.assert_array_equal, params, best)


def test_a_stopped_run_continues_to_the_same_parameters(run, whole):
    stopped, store, _, _ = fit(run, stop_at=3)
    assert stopped.step == 3
    assert store.checkpoints[3][2] == math.inf
    (params, progress), _, _, callbacks = fit(run, store=store)
    assert callbacks.steps[0][0] == 4
    expected, expected_progress = whole[0]
    jax.tree.map(np.testing.assert_array_equal, params, expected)
    assert progress.best_loss == expected_progress.best_loss


def with_falling_losses(run):
    """The run with the validation losses 9, 8, ... in its epochs."""
    calls = []

    def forward(params, batch):
        outputs, measured = run.forward(params, batch)
        loss = 9.0 - len(calls) // len(run.validation.plan)
        calls.append(loss)
        return outputs, {**measured, "losses": np.full(2, loss)}

    forward.compile_ahead = run.forward.compile_ahead
    return run._replace(forward=forward)


@pytest.mark.parametrize(
    ("chosen", "key"),
    [
        ("loss", "validation/loss"),
        ("average", "validation/avg"),
        ("intensity/pearson", "validation/intensity/pearson"),
    ],
)
def test_the_parameters_are_those_of_the_selected_epoch(run, chosen, key):
    """The losses fall; of two epochs the first has the better Avg."""
    made = selection.make(chosen, run.benchmark)
    changed = with_falling_losses(run._replace(selection=made))
    (params, progress), store, log, _ = fit(changed)
    lines = [x for x in log.lines if "validation/loss" in x]
    assert [x["validation/loss"] for x in lines] == [9.0, 8.0]
    assert lines[0]["validation/avg"] > lines[1]["validation/avg"]
    values = [x[key] for x in lines]
    best = (min if chosen == "loss" else max)(values)
    assert progress.best_epoch == values.index(best) + 1
    assert made.figure_of(progress.best_score) == best
    assert progress.best_loss == lines[progress.best_epoch - 1]["validation/loss"]
    step = progress.best_epoch * run.schedule.steps_per_epoch
    assert store.best_step() == step
    expected = store.checkpoints[step][0]["params"]
    jax.tree.map(np.testing.assert_array_equal, params, expected)


def test_the_first_state_follows_from_the_seed(run):
    again, other = make_run().state, make_run(seed=1).state
    jax.tree.map(np.testing.assert_array_equal, again, run.state)
    head = ("heads", "irony", "kernel")
    first, second = (state.params for state in (run.state, other))
    for name in head:
        first, second = first[name], second[name]
    assert not np.array_equal(first, second)


# ---- the bound of MTRA


@pytest.fixture(scope="module")
def bounded():
    """A run that learns its training texts by heart, with labels of almost one class.

    One label of 90 is another one, so that the ceiling is near 0; the targets stay those
    of the texts. A total meets the floor as soon as a task is partly learned.
    """
    options = {"beta": 1.0, "epsilon": 0.01, "floor": 1.2}
    run = make_run(epochs=20, method=build.MethodChoice("mtra", options), rate=2e-2)
    corpus = run.train.corpus
    labels = np.zeros_like(corpus.labels[0])
    labels[0] = 1
    run.train.corpus = corpus._replace(labels=(labels, corpus.labels[1]))
    return run._replace(schedule=run.schedule._replace(patience=99))


@pytest.fixture(scope="module")
def passed(bounded):
    return fit(bounded)


@pytest.mark.slow
def test_a_bound_past_its_ceiling_and_a_loss_at_the_floor_are_said_once(
    bounded, passed
):
    (_, progress), _, log, callbacks = passed
    size = len(bounded.train.corpus.labels[0])
    ceiling = math.log(size) - (size - 1) / size * math.log(size - 1)
    steps = [x for x in log.lines if "objective" in x]
    assert steps[0]["ceiling/irony"] == pytest.approx(ceiling, rel=1e-12)
    assert not any("ceiling" in key for x in log.lines[1:] for key in x)
    assert not any("intensity" in key for key in steps[0] if "ceiling" in key)
    means = {}
    for epoch in range(1, 21):
        own = [x["mi/irony"] for x in steps if x["epoch"] == epoch and "mi/irony" in x]
        bound = callbacks.bounds[epoch - 1]["irony"]
        assert bound.training == means.setdefault(epoch, np.mean(own))
        assert bound.ceiling == steps[0]["ceiling/irony"]
        assert callbacks.bounds[epoch - 1]["intensity"].ceiling is None
    first = min(epoch for epoch, mean in means.items() if mean > ceiling)
    floored = min(
        x["epoch"]
        for x in steps
        if any(value == 1 for key, value in x.items() if key.startswith("floored/"))
    )
    assert min(first, floored) > 1
    assert len(callbacks.said) == len({first, floored})
    line = {int(line.partition(":")[0].split()[1]): line for line in callbacks.said}
    assert (
        f" a bound on I(Z; Y) passes its ceiling H(Y): irony {means[first]:.3f} of "
        f"{ceiling:.3f} nats in training"
    ) in line[first]
    assert (
        "losses at the floor of the logarithm (harmless if learned): irony in "
        in line[floored]
    )
    remedy = (
        "; a smaller method.beta or learning_rate, method.balance=pull or bound=jsd"
    )
    assert all(remedy in said for said in callbacks.said)
    assert progress.said == ["ceiling", "floor"]


@pytest.mark.slow
def test_a_continued_run_does_not_say_it_again(bounded, passed):
    stop = 19 * bounded.schedule.steps_per_epoch + 1
    _, store, log, callbacks = fit(bounded, stop_at=stop)
    assert callbacks.said == passed[3].said
    assert "ceiling/irony" in log.lines[0]
    (_, progress), _, later, callbacks = fit(bounded, store=store)
    assert progress.validated == 20
    assert callbacks.said == []
    assert not any("ceiling" in key for line in later.lines for key in line)


@pytest.mark.slow
def test_the_figures_of_the_bound_are_those_of_the_step(passed):
    _, _, log, _ = passed
    for line in log.lines:
        if "objective" not in line:
            continue
        (task,) = {"irony", "intensity"} & {key.partition("/")[2] for key in line}
        names = ("task", "mi", "loss", "perturbed", "weight", "floored")
        values = {name: line[f"{name}/{task}"] for name in names}
        assert values["loss"] == pytest.approx(values["task"] - values["mi"], abs=1e-6)
        total = values["loss"] + values["perturbed"]
        assert values["floored"] == float(total <= 1.2)
        assert values["weight"] == pytest.approx(1 / max(total, 1.2), rel=1e-5)


@pytest.mark.slow
def test_the_validation_has_the_terms_of_the_losses(passed):
    _, _, log, callbacks = passed
    lines = [line for line in log.lines if "validation/loss" in line]
    for line, bounds in zip(lines, callbacks.bounds, strict=True):
        for task in ("irony", "intensity"):
            difference = line[f"validation/task/{task}"] - line[f"validation/mi/{task}"]
            loss = line[f"validation/loss/{task}"]
            assert loss == pytest.approx(difference, abs=1e-6)
            assert bounds[task].validation == line[f"validation/mi/{task}"]


def test_a_method_without_a_bound_logs_none(run, whole):
    _, _, log, callbacks = whole
    labels = run.train.corpus.labels[0]
    shares = np.bincount(labels) / len(labels)
    assert log.lines[0]["ceiling/irony"] == pytest.approx(
        -sum(share * math.log(share) for share in shares), rel=1e-12
    )
    keys = {key for line in log.lines for key in line}
    assert not any(key.split("/")[0] in ("mi", "floored", "perturbed") for key in keys)
    assert "validation/mi/irony" not in keys
    assert {"task/irony", "validation/task/irony"} <= keys
    assert callbacks.bounds == [{}, {}]
