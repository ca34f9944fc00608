"""The output of a run during training: bars on a terminal, lines in a log."""

import io
import os
import pty
import re
import select
import termios

import pytest

from mtra_jax.reports.progress import bars, pace
from mtra_jax.reports.progress.bounds import Bound
from mtra_jax.tasks import BENCHMARKS

TASKS = BENCHMARKS["synthetic"].tasks
NAMES = BENCHMARKS["synthetic"].task_names
LOSSES = {
    "polarity": 1.08,
    "target": 1.4,
    "irony": 0.69,
    "stance": 12.5,
    "intensity": 4,
}


class Clock:
    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    own = Clock()
    for module in (bars, pace):
        monkeypatch.setattr(module, "time", own)
    return own


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (80, "polarity 1.08 target 1.40 irony 0.69 stance 12.50 intensity 4.00"),
        (64, "polari 1.08 target 1.40 irony 0.69 stance 12.50 intens 4.00"),
        (47, "po 1.08 ta 1.40 ir 0.69 st 12.50 in 4.00"),
        (40, "1.08 1.40 0.69 12.50 4.00"),
    ],
)
def test_the_losses_of_all_tasks_fit_the_width(width, line):
    assert bars.loss_line(LOSSES, width) == line
    assert len(line) <= width


def test_names_that_are_cut_stay_distinct():
    losses = dict.fromkeys(["irony", "irony2", "ironic"], 1.0)
    assert bars.loss_line(losses, 36) == "irony 1.00 irony2 1.00 ironi 1.00"
    assert bars.loss_line(losses, 35) == "1.00 1.00 1.00"


def test_the_form_of_the_line_does_not_depend_on_the_losses():
    short, long = ({"irony": value, "stance": 0.5} for value in (9.5, 10.5))
    forms = [bars.loss_line(losses, 24).split()[::2] for losses in (short, long)]
    assert forms[0] == forms[1] == ["irony", "stance"]


def test_a_log_gets_a_line_every_five_seconds(clock):
    written, tables = [], []
    lines = bars.TrainingLines(
        TASKS, total=40, epochs=2, say=tables.append, write=written.append
    )
    for step in range(1, 13):
        clock.now += 1.0
        name = NAMES[step % 2]
        lines.step(step, 1, {f"loss/{name}": step / 10, "norm/grads": 1.0}, 8)
    assert written == [
        "step 1/40, epoch 1/2, after 1 s with compiling, losses: target 0.10",
        "step 6/40, epoch 1/2, 8 examples/s, about 34 s left, "
        "losses: polarity 0.60 target 0.50",
        "step 11/40, epoch 1/2, 8 examples/s, about 29 s left, "
        "losses: polarity 1.00 target 1.10",
    ]
    assert not tables


def test_the_rate_is_that_of_the_last_twenty_seconds(clock):
    written = []
    lines = bars.TrainingLines(
        TASKS, total=99, epochs=1, say=written.append, write=written.append
    )
    for step, seconds in enumerate([60.0, *[5.0] * 5], start=1):  # the first compiles
        clock.now += seconds
        lines.step(step, 1, {}, 30)
    rates = [line.split(", ")[2] for line in written]
    expected = [f"{rate:.0f} examples/s" for rate in (0.92, 1.29, 1.6, 6, 6)]
    assert rates == ["after 60 s with compiling", *expected]
    # Not from fewer than five steps. The mean of those that did not compile.
    assert ["left" in line for line in written] == [False] * 4 + [True] * 2
    left = [line.split(", ")[3] for line in written[4:]]
    assert left == ["about 7 min 50 s left", "about 7 min 45 s left"]


def test_the_time_left_is_by_the_mean_of_steps_of_several_lengths(clock):
    """Three in five take 0.1 s, the others 0.8 s, but for two of 30 s that compile."""
    written = []
    lines = bars.TrainingLines(
        TASKS, total=2000, epochs=1, say=written.append, write=written.append
    )
    times = [30.0, 0.1, 30.0, *[0.1, 0.8, 0.1, 0.8, 0.1] * 200]
    for step, seconds in enumerate(times, start=1):
        clock.now += seconds
        lines.step(step, 1, {}, 30)
        if step == 98:
            lines._written = clock.now - 9
    short, long = 59, 38  # of the steps 2 and 4 to 99
    mean = (0.1 * short + 0.8 * long) / (short + long)
    (line,) = (line for line in written if line.startswith("step 99/"))
    seconds = round(1901 * mean)
    assert f"about {seconds // 60} min {seconds % 60} s left" in line


def test_the_rate_leaves_validations_out(clock):
    written, tables = [], []
    lines = bars.TrainingLines(
        TASKS, total=9, epochs=9, say=tables.append, write=written.append
    )
    clock.now += 2
    lines.step(1, 1, {}, 10)
    clock.now += 100
    lines.epoch(1, 1.23456, {"polarity": {"macro_f1": 50.0}, "avg": 50.0}, ", best", {})
    clock.now += 6
    lines.step(2, 2, {}, 30)
    assert written[-1].startswith("step 2/9, epoch 2/9, 5 examples/s")
    assert tables[0].splitlines()[-1].endswith("50.00   loss 1.2346, best")


@pytest.mark.parametrize("num_tasks", [0, 6])
def test_the_bounds_of_six_tasks_fit_a_terminal(num_tasks):
    tasks, said = BENCHMARKS["tweeteval"].tasks, []
    lines = bars.TrainingLines(tasks, total=9, epochs=9, say=said.append)
    measured = {
        task.name: Bound(
            0.25 + i, -0.5 - i, *((None, None) if i == 2 else (1.0 + i, 0.5 + i))
        )
        for i, task in enumerate(tasks[:num_tasks])
    }
    lines.epoch(1, 0.5, {"avg": 50.0}, "", measured)
    score_lines, table = said[0].split("\n")[:3], said[0].split("\n")[3:]
    assert score_lines[2].endswith("50.00   loss 0.5000")
    if not num_tasks:
        assert table == []
        return
    titles, units, training, ceiling, validation, of_validation = table
    assert titles.split() == [task.title for task in tasks]
    assert units.split() == ["nats"] * 6
    row = ["0.250", "1.250", "2.250", "3.250", "4.250", "5.250"]
    assert training.split() == ["bound", "I,", "training", *row]
    row = ["-0.500", "-1.500", "-2.500", "-3.500", "-4.500", "-5.500"]
    assert validation.split() == ["bound", "I,", "validation", *row]
    row = ["1.000", "2.000", "-", "4.000", "5.000", "6.000"]
    assert ceiling.split() == ["ceiling", "H(Y),", "training", *row]
    row = ["0.500", "1.500", "-", "3.500", "4.500", "5.500"]
    assert of_validation.split() == ["ceiling", "H(Y),", "validation", *row]
    assert len({len(line) for line in table[1:]}) == 1
    assert max(map(len, table)) <= 100


def test_an_evaluation_in_a_log_reports_its_progress(clock, monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    for _ in bars.evaluation_bar(range(12), 12):
        clock.now += 2
    assert stream.getvalue().splitlines() == [
        "evaluating 12 batches",
        "evaluated 3 of 12 batches",
        "evaluated 6 of 12 batches",
        "evaluated 9 of 12 batches",
    ]


def read_all(descriptor):
    """The text that a terminal shows; it may arrive in several parts."""
    parts = []
    while select.select([descriptor], [], [], 0.5)[0]:
        parts.append(os.read(descriptor, 9999))
    return b"".join(parts).decode()


@pytest.mark.parametrize("columns", [30, 48, 100])
def test_a_terminal_shows_all_losses_below_the_bar(columns, monkeypatch):
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (24, columns))
    with open(follower, "w", encoding="utf-8") as stream:
        monkeypatch.setattr("sys.stderr", stream)
        assert bars.has_terminal()
        bar = bars.TrainingBar(
            TASKS, total=2, initial=0, epochs=1, say=lambda text: None
        )
        bar._bar.mininterval = 0
        bar.step(1, 1, {f"loss/{name}": loss for name, loss in LOSSES.items()}, 8)
        text = read_all(leader)
        bar.close()
    drawn = [line.rstrip() for line in re.split("\r|\n|\x1b.A", text)]
    assert bars.loss_line(LOSSES, columns - 1) in drawn
    assert any("epoch 1/1" in line for line in drawn)
    assert max(map(len, drawn)) <= columns
