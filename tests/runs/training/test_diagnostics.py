"""`diagnostics.every`: lines against gradients one task at a time; resuming; pictures."""

import json
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from messages import assert_mentions
from tiers import nightly_only, rest_nightly

from mtra_jax import config as configs
from mtra_jax.commands import report
from mtra_jax.errors import InputError, RunError
from mtra_jax.methods import task_losses
from mtra_jax.runs.directory import best_model
from mtra_jax.runs.trained import diagnostic_figures, finished_run
from mtra_jax.runs.training import diagnostics, interfaces, loop, task_gradients
from mtra_jax.runs.training import run as training
from mtra_jax.train import build
from mtra_jax.train.devices import Program, choose_devices

TASKS = ("irony", "intensity")
FLAGS = (
    ("tasks", ",".join(TASKS)),
    ("data.limit", "24"),
    ("data.max_length", "16"),
    ("data.cache_dir", ""),
    ("batch_size", "8"),
    ("epochs", "1"),
    ("backbone.hidden_size", "8"),
    ("backbone.intermediate_size", "8"),
    ("backbone.num_hidden_layers", "1"),
    ("backbone.vocab_size", "200"),
    ("loggers", ""),
)


def train(workdir, method, *flags, stop_at=None):
    chosen = configs.apply(configs.preset("new_synthetic", method), [*FLAGS, *flags])
    watch = interfaces.Watch(
        should_stop=lambda step: step is not None and step == stop_at
    )
    return training.train(chosen, workdir, lambda prepared, progress: watch)


def lines_of(workdir, name="diagnostics.jsonl"):
    return [json.loads(line) for line in (workdir / name).read_text().splitlines()]


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A run of MTRA, whose steps have one task each, with a line every third step."""
    workdir = tmp_path_factory.mktemp("runs") / "mtra"
    train(workdir, "mtra", ("diagnostics.every", "3"))
    return workdir


@pytest.mark.slow
def test_lines_have_the_figures_of_gradients_in_numpy(measured):
    """The last line, after the last step, is that of the only epoch's parameters."""
    lines = lines_of(measured)
    assert [line["step"] for line in lines] == [3, 6]
    network = finished_run.Trained(measured)
    model, method = network.model_and_method()
    corpus, plan, packed = network.packed("train")

    @jax.jit
    def gradient(encoder, part):
        def loss(encoder):
            params = {**network.saved.params, "encoder": encoder}
            outputs = method.losses(params, part, None, None).outputs
            return task_losses.of_outputs(model.space, outputs, part, None).sum()

        return jax.grad(loss)(encoder)

    rows = []
    for task in range(2):
        own = [i for i, row in enumerate(plan) if corpus.tasks[row[0]] == task]
        assert 1 < len(own) <= task_gradients.NUM_BATCHES
        parts = [
            gradient(
                network.saved.params["encoder"],
                jax.tree.map(lambda x: x[0], packed[i]),
            )
            for i in own
        ]
        flat = [np.concatenate([*map(np.ravel, jax.tree.leaves(p))]) for p in parts]
        rows.append(np.mean(np.asarray(flat, np.float64), axis=0))
    norms = [np.linalg.norm(row) for row in rows]
    cosine = rows[0] @ rows[1] / norms[0] / norms[1]
    line = lines[-1]
    np.testing.assert_allclose([line[f"norm/{t}"] for t in TASKS], norms, rtol=1e-4)
    expected = [[1, cosine], [cosine, 1]]
    np.testing.assert_allclose(line["cosines"], expected, rtol=1e-4, atol=1e-5)
    assert line["conflict_share"] == (cosine < 0)
    step = next(x for x in lines_of(measured, "metrics.jsonl") if x["step"] == 6)
    weights = {key: value for key, value in step.items() if key.startswith("weight/")}
    assert len(weights) == 1
    assert weights.items() <= line.items()


@pytest.mark.slow
def test_diagnostics_change_nothing_else(measured, tmp_path):
    train(tmp_path, "mtra")
    assert not (tmp_path / "diagnostics.jsonl").exists()
    assert lines_of(tmp_path, "metrics.jsonl") == lines_of(measured, "metrics.jsonl")
    pairs = (best_model.load_one(place).params for place in (tmp_path, measured))
    jax.tree.map(np.testing.assert_array_equal, *pairs)


@nightly_only
@pytest.mark.slow
def test_a_stopped_run_continues_with_the_same_lines(measured, tmp_path):
    """Lines after the checkpoint, also one that was cut off, are dropped."""
    with pytest.raises(loop.Stopped):
        train(tmp_path, "mtra", ("diagnostics.every", "3"), stop_at=4)
    path = tmp_path / "diagnostics.jsonl"
    path.write_text(path.read_text() + '{"step": 6, "cosines": []}\n{"step"')
    train(tmp_path, "mtra", ("diagnostics.every", "3"))
    assert path.read_bytes() == (measured / "diagnostics.jsonl").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    "method", rest_nightly(["pcgrad", "samo", "go4align"], ["pcgrad"])
)
def test_a_method_of_joint_batches_has_the_weights_of_all_tasks(method, tmp_path):
    train(tmp_path, method, ("diagnostics.every", "2"))
    for line in lines_of(tmp_path):
        assert {f"{key}/{t}" for key in ("norm", "weight") for t in TASKS} <= set(line)


@pytest.mark.slow
@pytest.mark.parametrize("mapping", ["pmap", "shard_map"])
def test_devices_and_micro_batches_do_not_matter(measured, mapping):
    network = finished_run.Trained(measured)
    model, method = network.model_and_method()
    corpus = network.packed("train").corpus
    expected = network.gramian()
    batch = task_gradients.pack(
        corpus, 8, num_devices=2, local_devices=(0, 1), micro_batches=2
    )
    function = task_gradients.make_gramian(model, method, build.AXIS)
    program = Program(function, choose_devices(2), donate_first=False, mapping=mapping)
    actual = program(network.saved.params, batch)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-9)


class _Full:
    """An array whose program ran out of memory after it was started."""

    def __array__(self, *_, **__):
        raise MemoryError("no 9 bytes")


def test_a_measurement_without_memory_is_named():
    batch = SimpleNamespace(tokens=np.zeros((1, 2, 3, 4)))

    def fail(params, batch):
        raise ValueError("RESOURCE_EXHAUSTED: no 9 bytes")

    for program, reason in (
        (fail, "RESOURCE_EXHAUSTED: no 9 bytes"),
        (lambda params, batch: _Full(), "no 9 bytes"),
    ):
        probe = diagnostics.Diagnostics(2, program, batch)
        assert probe.at(3, {}) is None
        with pytest.raises(RunError) as error:
            probe.at(4, {})()
        assert str(error.value) == (
            f"out of memory in a batch of 3 rows of 4 tokens on each device: {reason}; "
            "expected --config.diagnostics.every=0, or a smaller batch_size or "
            "data.max_length"
        )


@pytest.mark.parametrize(
    "flag", ["--format=text", "--split=test", "--baseline=ew", "--out=x.tex"]
)
def test_flags_of_a_table_are_refused_beside_diagnostics(flag, tmp_path):
    with pytest.raises(InputError) as error:
        report.main([str(tmp_path), "--diagnostics", flag])
    assert str(error.value) == (
        f"{flag.replace('=', ' ')} with --diagnostics, which draws PNG and PDF files into "
        "DIR/figures; expected only one of them"
    )


@pytest.mark.slow
def test_one_command_draws_the_run(measured, capsys):
    pytest.importorskip("matplotlib", reason="no matplotlib: the extra plots")
    report.main([str(measured), "--diagnostics"])
    names = {path.name for path in (measured / "figures").iterdir()}
    assert names == {
        f"gradient_{name}.{kind}"
        for name in ("cosines", "curves")
        for kind in ("png", "pdf")
    }
    assert "gradient_cosines.png" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ["no such file", "--config.diagnostics.every=N"]),
        ("", ["empty", "--config.diagnostics.every=N"]),
        ('{"step": 3, "cosines": [[1.0]]}\n', [":1: damaged", "2 tasks"]),
        ("nothing\n", [":1: damaged"]),
    ],
)
def test_a_run_without_diagnostics_is_one_line(content, words, tmp_path):
    path = tmp_path / "diagnostics.jsonl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError) as error:
        diagnostic_figures.read(tmp_path, 2)
    assert_mentions(error.value, str(path), *words)


def test_a_line_that_is_being_written_is_left_out(measured, tmp_path):
    text = (measured / "diagnostics.jsonl").read_text()
    (tmp_path / "diagnostics.jsonl").write_text(text + '{"step": 9')
    assert [line["step"] for line in diagnostic_figures.read(tmp_path, 2)] == [3, 6]
