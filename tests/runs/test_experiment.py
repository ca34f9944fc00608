"""`mtra-jax experiment` in this process, on a small encoder: trains, shares, measures."""

import csv
import json
import math
import shutil

import jax
import numpy as np
import pytest
from served_model import chat, serving
from tiers import nightly_only, rest_nightly

from mtra_jax.analysis import robustness
from mtra_jax.commands import experiment
from mtra_jax.errors import InputError
from mtra_jax.methods import task_losses
from mtra_jax.reports.pictures import drawing, figures
from mtra_jax.runs.directory import best_model
from mtra_jax.runs.sweeps import sweep
from mtra_jax.runs.trained import (
    analyses,
    attacks,
    finished_run,
    representation_figures,
    retraining,
)
from mtra_jax.train import evaluate

pytestmark = pytest.mark.slow
TINY = [
    "--config.data.limit=24",
    "--config.batch_size=16",
    "--config.backbone.hidden_size=16",
    "--config.backbone.num_hidden_layers=1",
    "--config.backbone.intermediate_size=16",
    "--config.backbone.vocab_size=200",
    "--config.backbone.dropout=0.1",
    "--config.data.max_length=32",
    "--config.loggers=",
]


def run(workdir, name, *flags):
    arguments = [name, "--scale=smoke", "--seeds=0", f"--workdir={workdir}"]
    # A new encoder, which can be smaller and have dropout.
    experiment.main([*arguments, "--backbone=new", *TINY, *flags])


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """The work directory after `alignment`, whose four rows have one run each."""
    place = tmp_path_factory.mktemp("experiment")
    flags = ["--config.data.cache_dir=" + str(place / "cache")]
    TINY.extend(flags)
    run(place, "alignment")
    return place


def results_of(workdir):
    return {
        str(path.parent.parent.relative_to(workdir)): path.stat().st_mtime_ns
        for path in workdir.glob("*/seed0/results.json")
    }


def test_the_runs_of_one_experiment_serve_the_next(workdir, capsys):
    before = results_of(workdir)
    assert set(before) == {"ew", "mtra", "mtra-w-o-sa", "mtra-w-o-ta-sa"}
    run(workdir, "ablations", "--dry_run")
    assert "11 runs: 4 finished, 0 begun, 7 new" in capsys.readouterr().out
    run(workdir, "alignment")
    assert results_of(workdir) == before
    names = {entry.name for entry in sweep.read(workdir)}
    assert names == {"ew", "mtra", "mtra w/o SA", "mtra w/o TA & SA"}


def test_another_configuration_under_the_same_name_is_refused(workdir):
    with pytest.raises(InputError) as error:
        run(workdir, "ablations", "--config.epochs=3", "--dry_run")
    assert "epochs is 1 there and 3 here" in str(error.value)
    assert "\n" not in str(error.value)


def test_the_table_has_the_figures_beside_the_runs(workdir):
    paths = [workdir / f"tables/alignment.{end}" for end in ("txt", "md", "tex", "csv")]
    assert all(path.stat().st_size for path in paths)
    with paths[-1].open() as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    for name, directory in (("ew", "ew"), ("mtra w/o SA", "mtra-w-o-sa")):
        stored = json.loads(
            (workdir / directory / "seed0/analysis/alignment.json").read_text()
        )["values"]
        for split, own in stored.items():
            for column, value in own.items():
                assert float(rows[name][f"{split} {column}/mean"]) == value
                assert math.isfinite(value)


def test_representations_and_losses_are_those_of_the_model(workdir):
    model = finished_run.Trained(workdir / "mtra/seed0")
    task = model.tasks[0]
    rows, part = model.rows(task, "validation"), model.part(task, "validation")
    head = model.saved.params["heads"][task.name]
    features = np.maximum(rows.z, 0)
    np.testing.assert_allclose(
        features @ head["kernel"] + head["bias"], rows.outputs, atol=1e-5
    )
    first, second = rows.views
    assert np.abs(first - second).max() > 1e-3
    assert np.abs(first - rows.z).max() > 1e-3
    logs = jax.nn.log_softmax(rows.outputs)
    expected = -np.mean([logs[i, label] for i, label in enumerate(part.labels)])
    loss = analyses.task_loss(task, rows.outputs, part.labels)
    assert loss == pytest.approx(float(expected), abs=1e-5)
    unit = [view / np.linalg.norm(view, axis=1, keepdims=True) for view in rows.views]
    distance = np.square(unit[0] - unit[1]).sum(axis=1).mean()
    other = model.rows(model.tasks[1], "validation").views
    unit = [view / np.linalg.norm(view, axis=1, keepdims=True) for view in other]
    mean = (distance + np.square(unit[0] - unit[1]).sum(axis=1).mean()) / 2
    values = analyses.figures(workdir / "mtra/seed0", "alignment")
    assert values["validation"]["SA loss"] == pytest.approx(mean, abs=1e-5)


@nightly_only
def test_figures_of_some_texts_are_those_of_the_same_texts_in_all_runs(workdir):
    whole = finished_run.Trained(workdir / "ew/seed0")
    models = [finished_run.Trained(workdir / f"{n}/seed0", 9) for n in ("ew", "mtra")]
    for task in whole.tasks:
        all_texts = whole.part(task, "test").texts
        one, other = (model.part(task, "test") for model in models)
        assert one.texts == other.texts
        assert len(one.texts) == 9 < len(all_texts)
        places = [all_texts.index(text) for text in one.texts]
        assert places == sorted(places) != list(range(9))
        np.testing.assert_array_equal(
            one.labels, whole.part(task, "test").labels[places]
        )
        np.testing.assert_allclose(
            models[0].rows(task, "test").z,
            whole.rows(task, "test").z[places],
            atol=1e-5,
        )
    run(workdir, "alignment", "--texts=9")
    stored = json.loads(
        (workdir / "ew/seed0/analysis/alignment_9_texts.json").read_text()
    )
    losses = []
    for task in whole.tasks:
        rows, part = models[0].rows(task, "train"), models[0].part(task, "train")
        losses.append(analyses.task_loss(task, rows.outputs, part.labels))
    mean = pytest.approx(np.mean(losses), abs=1e-6)
    assert stored["values"]["train"]["TA loss"] == mean
    with (workdir / "tables/alignment.csv").open() as file:
        first = next(row for row in csv.DictReader(file) if row["name"] == "ew")
    assert float(first["train TA loss/mean"]) == mean
    assert (
        "at most 9 texts of each task" in (workdir / "tables/alignment.md").read_text()
    )
    with pytest.raises(InputError, match="--texts 9: ablations computes nothing"):
        run(workdir, "ablations", "--texts=9", "--dry_run")
    run(workdir, "alignment")


def test_noise_of_size_zero_leaves_the_outputs_and_a_large_one_moves_them(
    workdir, monkeypatch
):
    model = finished_run.Trained(workdir / "ew/seed0")
    scored, original = [], evaluate.score_outputs

    def score(outputs, corpus, benchmark):
        scored.append(outputs)
        return original(outputs, corpus, benchmark)

    monkeypatch.setattr(evaluate, "score_outputs", score)
    kinds = robustness.fgm(), robustness.noise()
    averages = [attacks.averages(model, kind, (0.0, 10.0)) for kind in kinds]
    assert np.isfinite(averages).all()
    parts = [model.rows(task, "test").outputs for task in model.tasks]
    for place, outputs in enumerate(scored):
        start = 0
        for task, part in zip(model.tasks, parts, strict=True):
            slots = model.saved.benchmark.slots(task.name)
            own = outputs[start : start + len(part), slots]
            start += len(part)
            moved = np.abs(own - part).max()
            assert moved < 1e-5 if place % 2 == 0 else moved > 1e-3
        assert start == len(outputs)


def test_a_damaged_file_of_figures_is_named(workdir):
    path = workdir / "ew/seed0/analysis/uniformity.json"
    for values in (
        '{"x": 3}',
        "{}",
        '{"x": {}}',
        '{"x": {"y": true}}',
        '{"x": {"y": "1"}}',
        '{"x": {"y": 1' + 400 * "0" + "}}",
    ):
        path.write_text(f'{{"format": {analyses.FORMAT}, "values": {values}}}')
        with pytest.raises(InputError, match=f"{path}: damaged: (?!format)"):
            analyses.figures(workdir / "ew/seed0", "uniformity")
    for other in ("true", analyses.FORMAT - 1):
        path.write_text(f'{{"format": {other}, "values": {{"x": {{"y": 1}}}}}}')
        with pytest.raises(InputError, match=f"{path}: damaged: format"):
            analyses.figures(workdir / "ew/seed0", "uniformity")
    path.unlink()


@pytest.mark.parametrize(
    "name", rest_nightly(analyses.ANALYSES, ["alignment", "information_plane"])
)
def test_the_fewest_texts_are_enough_for_every_analysis(workdir, name):
    values = analyses.figures(workdir / "ew/seed0", name, analyses.FEWEST_TEXTS)
    assert all(math.isfinite(x) for own in values.values() for x in own.values())


def test_fewer_texts_are_refused(workdir):
    fewest = analyses.FEWEST_TEXTS
    with pytest.raises(InputError, match=f"--texts {fewest - 1}: .* at least {fewest}"):
        run(workdir, "alignment", f"--texts={fewest - 1}")


def test_the_last_of_the_visited_epochs_is_that_of_the_run(workdir):
    states = {}
    retraining.visit(
        workdir / "mtra/seed0", lambda n, params: states.update({n: params})
    )
    assert list(states) == [0, 1]
    best = best_model.load_one(workdir / "mtra/seed0").params
    jax.tree.map(np.testing.assert_array_equal, states[1], best)
    values = analyses.figures(workdir / "mtra/seed0", "conflicts")
    assert {title: list(columns) for title, columns in values.items()} == {
        "cosine": ["0", "1"],
        "conflicts (%)": ["0", "1"],
    }
    assert all(-1 <= figure <= 1 for figure in values["cosine"].values())


def test_the_gramian_is_that_of_the_mean_gradients(workdir):
    model = finished_run.Trained(workdir / "ew/seed0")
    network, method = model.model_and_method()
    corpus, plan, packed = model.packed("train")

    def loss(encoder, task):
        total = 0.0
        params = {**model.saved.params, "encoder": encoder}
        for row, batch in zip(plan, packed, strict=True):
            if corpus.tasks[row[0]] == task:
                part = jax.tree.map(lambda x: x[0], batch)
                outputs = method.losses(params, part, None, None).outputs
                own = task_losses.of_outputs(network.space, outputs, part, None)
                total += own[task]
        return total / np.sum(corpus.tasks[plan[:, 0]] == task)

    encoder = model.saved.params["encoder"]
    rows = [
        np.concatenate(
            [np.ravel(x) for x in jax.tree.leaves(jax.grad(loss)(encoder, t))]
        )
        for t in range(2)
    ]
    expected = [[float(a @ b) for b in rows] for a in rows]
    products = model.gramian()
    np.testing.assert_allclose(products, expected, rtol=1e-4, atol=1e-8)


@pytest.fixture
def changed(workdir, tmp_path):
    """Copies a run with one text of one of its files replaced by another."""

    def copy(file, old, new):
        place = tmp_path / "run"
        shutil.copytree(workdir / "ew/seed0", place)
        text = (place / file).read_text()
        assert text.count(old) == 1
        (place / file).write_text(text.replace(old, new))
        return place

    return copy


def test_a_run_with_pieces_of_gradients_is_read_on_one_device(workdir, changed):
    place = changed(
        "config.json", '"gradient_pieces": false', '"gradient_pieces": true'
    )
    products = [
        finished_run.Trained(run).gramian() for run in (workdir / "ew/seed0", place)
    ]
    np.testing.assert_array_equal(*products)


def test_other_data_than_those_of_the_run_are_named(workdir, changed):
    stored = json.loads((workdir / "ew/seed0/inputs.json").read_text())["data"]
    task = finished_run.Trained(workdir / "ew/seed0").tasks[0].name
    place = changed("inputs.json", stored[task]["validation"]["sha256"], "0" * 64)
    for read in (
        finished_run.Trained,
        lambda run: retraining.visit(run, lambda n, params: None),
    ):
        with pytest.raises(InputError) as error:
            read(place)
        expected = (
            f"{place}: {task}, validation: as many examples as when the run began"
        )
        assert str(error.value).startswith(expected)


@nightly_only
def test_a_language_model_has_rows_beside_the_trained_ones(
    workdir, monkeypatch, capsys
):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving(
        lambda text, _: chat("0.5" if "Intensity" in text else "ironic")
    ) as own:
        flags = ("--model=toy", f"--endpoint={own.url}")
        run(workdir, "paradigms", *flags)
        output = capsys.readouterr().out
        # 24 test examples of two tasks, without and with demonstrations.
        assert len(own.requests) == 2 * 48
        with pytest.raises(InputError, match="--model: ablations has no rows"):
            run(workdir, "ablations", *flags)
    for name in (
        "ew",
        "stl",
        "stl_cnn",
        "mtra",
        "toy zero-shot",
        "toy 4 demonstrations",
    ):
        assert f"\n{name} " in output
    with (workdir / "tables/paradigms.csv").open() as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert float(rows["toy zero-shot"]["replies unread %/mean"]) == 0
    stored = json.loads((workdir / "toy-zero-shot/seed0/results.json").read_text())
    figure = stored["test"]["irony"]["macro_f1"]
    assert float(rows["toy zero-shot"]["Irony M-F1/mean"]) == figure


def test_representations_are_drawn_by_task_and_by_label(workdir, monkeypatch):
    """Their products after centring are those of z, but for the third component on."""
    drawn = {}

    def keep(points, groupings, shares):
        drawn.update(points=points, groups=groupings, shares=shares)

    monkeypatch.setattr(figures, "representations", keep)
    monkeypatch.setattr(
        drawing, "save_all", lambda made, place: [place / n for n in made]
    )
    directory = workdir / "mtra/seed0"
    (path,) = representation_figures.draw(directory)
    assert path == directory / "figures/representations"
    model = finished_run.Trained(directory)
    irony, intensity = model.tasks
    count = len(model.part(irony, "test").texts)
    groups = drawn["groups"]
    assert list(groups) == ["all tasks", irony.name]
    owners = np.array(groups["all tasks"])
    assert [sum(owners == task.name) for task in model.tasks] == [count, count]
    labels = np.array(groups[irony.name], object)
    own = [irony.labels[i] for i in model.part(irony, "test").labels]
    assert sorted(labels[owners == irony.name]) == sorted(own)
    assert set(labels[owners == intensity.name]) == {None}
    # The points of the first task, in any order, as eigenvectors of the covariance have them.
    rows = np.concatenate([model.rows(task, "test").z for task in model.tasks])
    _, directions = np.linalg.eigh(np.cov(rows.T))
    expected = (rows - rows.mean(axis=0)) @ directions[:, :-3:-1]
    np.testing.assert_allclose(
        np.sort(np.abs(drawn["points"][owners == irony.name]), axis=0),
        np.sort(np.abs(expected[:count]), axis=0),
        atol=1e-4,
    )
