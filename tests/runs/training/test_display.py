"""The callbacks that show a run: bars, log lines, or only problems."""

from types import MappingProxyType, SimpleNamespace

import jax
import numpy as np
import pytest

from mtra_jax import config as configs
from mtra_jax.data.splits.examples import Examples
from mtra_jax.data.tokenizing import tokens
from mtra_jax.reports.progress import bars, label_counts
from mtra_jax.reports.progress.bounds import Bound
from mtra_jax.runs.training import display, preparation, selection
from mtra_jax.runs.training import run as training
from mtra_jax.runs.training.progress import Progress
from mtra_jax.tasks import BENCHMARKS, Benchmark, Task
from mtra_jax.train import evaluate


def splits(labels):
    """Examples of all splits with the same labels."""
    part = Examples(["a"] * len(labels), np.array(labels))
    return dict.fromkeys(("train", "validation", "test"), part)


PREPARED = SimpleNamespace(
    run=SimpleNamespace(
        schedule=SimpleNamespace(steps_per_epoch=4, epochs=3, patience=3),
        benchmark=BENCHMARKS["synthetic"].select(["irony", "stance"]),
        train=SimpleNamespace(corpus=SimpleNamespace(sizes=(20, 10)), shapes=[1, 2]),
        selection=selection.Selection(),
    ),
    inputs=SimpleNamespace(
        examples={"irony": splits([0, 1]), "stance": splits([0, 1, 2])},
        backbone=SimpleNamespace(dropped=()),
        cut="",
    ),
    origin="",
)


def watch(step=0, bounds=MappingProxyType({}), **options):
    lines, problems = [], []
    view = display.Display(lines.append, warn=problems.append, **options)
    callbacks = view.watch(PREPARED, Progress(step=step))
    callbacks.step(step + 1, 1, {"loss/irony": 0.5}, 8)
    callbacks.say("a problem")
    validation = {"irony": {"macro_f1": 50.0}, "avg": 50.0}
    callbacks.epoch(1, 0.25, validation, SimpleNamespace(stale_epochs=0), bounds)
    view.close()
    assert problems == ["a problem"]
    return lines, callbacks


def test_a_log_gets_the_sizes_lines_and_a_table_an_epoch(capsys):
    lines, callbacks = watch(step=8)
    assert lines[:2] == [
        "training examples: irony 20, stance 10; 4 steps an epoch",
        "continuing at step 8",
    ]
    assert lines[2].startswith("compiling the step (once for each of 2 shapes")
    assert lines[3].endswith("50.00   loss 0.2500, best loss so far")
    assert capsys.readouterr().err.startswith("step 9/12, epoch 1/3, ")
    assert list(callbacks.bar(iter("ab"), 2)) == ["a", "b"]
    assert capsys.readouterr().err == "evaluating 2 batches\n"


def test_own_tasks_begin_with_the_numbers_of_their_labels(monkeypatch):
    tasks = (
        Task("mood", "Mood", "classification", ("bad", "good"), ()),
        Task("topics", "Topics", "multi_label", ("art", "food"), ("macro_f1",)),
        Task("stars", "Stars", "regression", ("stars",), ()),
    )
    labels = {
        "mood": np.array([1, 0, 1]),
        "topics": np.array([[1.0, 0], [1, 0], [0, 0]]),
        "stars": np.array([[3.0], [4], [5]]),
    }
    examples = {name: splits(own) for name, own in labels.items()}
    examples["topics"]["test"] = Examples(["a"], np.array([[1.0, 1.0]]))
    monkeypatch.setattr(PREPARED.inputs, "examples", examples)
    monkeypatch.setattr(PREPARED.run, "benchmark", Benchmark("own", tasks))
    monkeypatch.setattr(PREPARED.run.train.corpus, "sizes", (3, 3, 3))
    lines = []
    display.Display(lines.append).watch(PREPARED, Progress())
    assert lines[1:4] == [
        "mood: bad 1, good 2",
        "topics: art 2, food 0",
        "topics: no validation example of food, which counts as 0 in macro_f1",
    ]
    assert "no test example" not in "".join(lines)


def test_texts_that_are_cut_are_counted_by_the_tokenizer():
    """Those of the training set, by the lengths of the whole texts."""
    limit = 12
    overrides = [
        ("data.max_length", str(limit)),
        ("data.limit", "40"),
        ("devices", "1"),
    ]
    config = configs.load("configs/mtra.py:tiny_synthetic", overrides)
    prepared = preparation.prepare(config)
    tokenizer = prepared.inputs.backbone.tokenizer
    expected = {}
    for name, parts in prepared.inputs.examples.items():
        whole = tokens.encode(tokenizer, parts["train"].texts, 512).lengths
        expected[name] = int((whole >= limit).sum())
    listed = [f"{name} {count} of 40" for name, count in expected.items() if count]
    assert len(listed) > 0
    assert prepared.inputs.cut == (
        f"texts of {limit} tokens or more, cut there (data.max_length): {', '.join(listed)}"
    )
    lines = []
    view = display.Display(lines.append)
    view.watch(prepared, Progress())
    view.close()
    assert prepared.inputs.cut in lines
    whole = configs.load("configs/mtra.py:tiny_synthetic", overrides[1:])
    assert preparation.prepare(whole).inputs.cut == ""


def test_of_many_labels_the_rarest_and_the_most_common_are_shown():
    counts = {f"l{n}": 10 * n for n in range(20)}
    assert label_counts.line("t", counts) == (
        "t: 20 labels, the rarest l0 0, l1 10, l2 20, l3 30, l4 40, the most common "
        "l17 170, l18 180, l19 190"
    )


def test_the_bounds_are_below_the_scores_of_an_epoch():
    lines, _ = watch(bounds={"irony": Bound(0.25, 0.125, 0.5, 0.375)})
    *_, units, training, first, validation, second = lines[-1].split("\n")
    assert units.split() == ["nats"]
    assert training.split()[-1] == "0.250"
    assert validation.split()[-1] == "0.125"
    assert (first.split()[-1], second.split()[-1]) == ("0.500", "0.375")


def test_the_best_epoch_is_marked_with_its_selection(monkeypatch):
    chosen = selection.Selection("irony/macro_f1", "irony", "macro_f1", True)
    monkeypatch.setattr(PREPARED.run, "selection", chosen)
    lines, _ = watch()
    assert lines[2].endswith("50.00   loss 0.2500, best irony/macro_f1 so far")


@pytest.mark.parametrize(
    ("directory", "cached"), [(None, ""), ("made", "; cached for the next run")]
)
def test_a_wait_for_the_compiler_is_announced(directory, cached, monkeypatch):
    settings = SimpleNamespace(jax_compilation_cache_dir=directory)
    monkeypatch.setattr(jax, "config", settings)
    lines, _ = watch()
    assert lines[1] == (
        f"compiling the step (once for each of 2 shapes{cached}); "
        "XLA may say 'Very slow compile?', which is no error"
    )


def test_nothing_is_compiled_for_training_that_is_over():
    lines = []
    display.Display(lines.append).watch(PREPARED, Progress(12, 3))
    assert [line.split()[0] for line in lines] == ["training", "continuing"]


def test_quiet_passes_problems_on_only(capsys):
    lines, callbacks = watch(quiet=True)
    assert lines == []
    assert callbacks.bar is evaluate.no_bar
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("is_terminal", "kind"), [(True, bars.TrainingBar), (False, bars.TrainingLines)]
)
def test_bars_are_for_terminals(is_terminal, kind, monkeypatch):
    monkeypatch.setattr(bars, "has_terminal", lambda: is_terminal)
    view = display.Display(lambda text: None)
    view.watch(PREPARED, Progress())
    assert type(view._view) is kind
    view.close()


@pytest.mark.parametrize(
    ("preset", "rate", "is_said"),
    [
        ("new_synthetic", "2e-3", False),
        ("new_synthetic", "5e-5", True),
        ("minilm_synthetic", "5e-5", False),
    ],
)
def test_a_new_encoder_with_the_rate_of_a_pretrained_one_is_named(
    preset, rate, is_said
):
    config = configs.load(f"configs/mtra.py:{preset}", [("learning_rate", rate)])
    lines = training._warnings(config)
    assert len(lines) == is_said
    assert all("learning_rate 5e-05; try 2e-3" in line for line in lines)
