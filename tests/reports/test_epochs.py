"""Lines of metrics.jsonl -> tables by epoch and curves, from a short and a long run."""

import dataclasses
import json

import numpy as np
import pytest

from mtra_jax.errors import InputError
from mtra_jax.reports.pictures import figures
from mtra_jax.reports.progress import epochs
from mtra_jax.tasks import SYNTHETIC

TASKS = SYNTHETIC.select(["irony", "intensity"]).tasks


def lines_of(num_epochs, *, with_bound):
    """Two steps of irony an epoch; every figure is its own number."""
    lines = []
    for epoch in range(1, num_epochs + 1):
        for step in (2 * epoch - 1, 2 * epoch):
            line = {"step": step, "loss/irony": 1.0 / step, "ceiling/irony": 0.69}
            if with_bound:
                line |= {"task/irony": 2.0 / step, "mi/irony": 0.1 * step}
            lines.append(line)
        line = {"step": 2 * epoch, "epoch": epoch, "validation/loss": 0.5}
        for place, task in enumerate(TASKS):
            line[f"validation/loss/{task.name}"] = epoch + 0.25 * place
            if with_bound:
                line[f"validation/task/{task.name}"] = 10 * epoch + place
                line[f"validation/mi/{task.name}"] = -0.0001 if place else 0.01 * epoch
        line["validation/irony/macro_f1"] = 60.0 + epoch
        line["validation/intensity/pearson"] = None if epoch == 1 else 70.0
        lines.append(line)
    return lines


def write(path, lines, end="\n"):
    path.write_text("\n".join(map(json.dumps, lines)) + end, encoding="utf-8")
    return path


def test_a_task_has_the_loss_of_the_task_the_scores_and_the_bound_of_each_run():
    runs = {
        "EW": lines_of(1, with_bound=False),
        "MTRA": lines_of(2, with_bound=True),
    }
    expected = """\
Irony
               EW                MTRA
           loss   M-F1     loss   M-F1      I
epoch 1  1.0000  61.00  10.0000  61.00  0.010
epoch 2       -      -  20.0000  62.00  0.020

Intensity
                  EW                      MTRA
           loss  Pear  Spear     loss   Pear  Spear      I
epoch 1  1.2500     -      -  11.0000      -      -  0.000
epoch 2       -     -      -  21.0000  70.00      -  0.000"""
    assert epochs.table(runs, TASKS) == expected
    markdown = epochs.table(runs, TASKS, markdown=True)
    assert "| epoch 2 | - | - | 20.0000 | 62.00 | 0.020 |" in markdown
    own = dataclasses.replace(TASKS[0], title="_T_")
    named = epochs.table({"[x](y)": runs["EW"]}, [own], markdown=True)
    assert named.startswith(r"**\_T\_**")
    assert r"|  | \[x](y) loss | \[x](y) M-F1 |" in named
    assert "|  | EW loss | EW M-F1 | MTRA loss | MTRA M-F1 | MTRA I |" in markdown


def test_a_line_that_is_being_written_is_left_out(tmp_path):
    lines = lines_of(1, with_bound=False)
    path = write(tmp_path / "metrics.jsonl", lines, end='\n{"step": 3, "lo')
    assert epochs.read(path) == lines


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (None, "No such file"),
        ("", "no epoch"),
        ('{"step": 1, "loss/irony": 0.5}\n', "no epoch"),
        ('{"step": 1}\n[1]\n', "jsonl:2: damaged"),
        ("{}\n", "jsonl:1: damaged"),
        ('{"step": true}\n', "jsonl:1: damaged"),
        ('{"step": 1, "epoch": null}\n', "jsonl:1: damaged"),
        ('{"step": 1, "loss/irony": "0.5"}\n', "jsonl:1: damaged"),
        ("[" * 100_000 + "\n", "jsonl:1: damaged"),
        ("\x00\n", "jsonl:1: damaged"),
    ],
)
def test_files_without_an_epoch_are_refused(content, fault, tmp_path):
    path = tmp_path / "metrics.jsonl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=fault):
        epochs.read(path)


def test_curves_show_the_loss_of_the_task_and_the_bound_below_its_ceiling():
    pytest.importorskip("matplotlib", reason="no matplotlib: the extra plots")
    runs = {
        "EW": lines_of(2, with_bound=False),
        "MTRA": lines_of(2, with_bound=True),
    }
    titles = {"irony": "Irony"}
    curves = figures.learning_curves(runs, titles).axes[0].lines
    steps = np.arange(1, 5)
    for line, expected in zip(
        curves, (1 / steps, [1, 2], 2 / steps, [10, 20]), strict=True
    ):
        np.testing.assert_allclose(line.get_ydata(), expected)
    bound = figures.bound_curves({"MTRA": runs["MTRA"]}, titles).axes[0].lines
    training, validation, ceiling = (line.get_ydata() for line in bound)
    np.testing.assert_allclose(training, 0.1 * steps)
    np.testing.assert_allclose(validation, [0.01, 0.02])
    np.testing.assert_allclose(ceiling, 0.69)
