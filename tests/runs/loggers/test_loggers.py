"""Loggers: what a run passes to them, what their failures do, and each one for real."""

import json
import logging
import math
import struct
import subprocess
import sys
import threading
from pathlib import Path

import jax
import numpy as np
import pytest
import xla_flags

from mtra_jax import config as configs
from mtra_jax import config_values
from mtra_jax.errors import InputError
from mtra_jax.runs.directory import metrics_log
from mtra_jax.runs.loggers import background, continued, guarded, mlflow_runs, registry
from mtra_jax.runs.loggers.contract import RunDescription
from mtra_jax.runs.training import interfaces
from mtra_jax.runs.training import run as training
from mtra_jax.train import build

VALUES = {"method.name": "mtra", "seed": 0, "tasks": ("irony",), "is_new": True}


class Tracker:
    """Keeps what it is given; each part of a run is another object with the same `rows`."""

    def __init__(self, rows=None, fails_at=""):
        self.rows = [] if rows is None else rows
        self.calls, self.fails_at, self.run = [], fails_at, None

    def _call(self, name):
        self.calls.append(name)
        if name == self.fails_at:
            raise ConnectionError(f"no server at {name}\nand more")

    def start(self, run):
        self.run = run
        self._call("start")
        return run.id or "run-1"

    def log(self, step, values):
        self._call("log")
        self.rows.append((step, dict(values)))

    def flush(self):
        self._call("flush")

    def close(self):
        self._call("close")


def describe(directory, step=0):
    return RunDescription(directory, "runs/a", VALUES, step)


def follow(logger, directory, steps, first=0):
    """Logs the `steps` of a run that continues after `first`."""
    logger.start(describe(directory, first))
    for step in steps:
        logger.log(step, {"objective": 1 / step})
        if step % 2 == 0:
            logger.log(step, {"validation/loss": 2 / step})
    logger.close()


# ---- failures


@pytest.mark.parametrize("method", ["start", "log", "flush", "close"])
@pytest.mark.parametrize("is_threaded", [False, True], ids=["direct", "thread"])
def test_a_failing_logger_is_reported_once_and_switched_off(
    tmp_path, method, is_threaded
):
    tracker, lines = Tracker(fails_at=method), []
    inner = background.Background(tracker) if is_threaded else tracker
    record = metrics_log.MetricsLog(
        tmp_path,
        step=0,
        start=lambda: started([guarded.Guarded("fake", inner, lines.append)]),
    )
    for step in (1, 2, 3):
        record.add(step, {"objective": 0.5})
        record.flush()
    record.close()
    assert lines == [
        f"warning: the logger fake is switched off: no server at {method}; metrics.jsonl "
        "has all figures"
    ]
    assert tracker.calls.count(method) == 1
    assert tracker.calls[-1] == method
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 3


def started(loggers):
    for logger in loggers:
        logger.start(describe(Path()))
    return loggers


def test_a_logger_that_asks_to_end_the_process_ends_only_itself(tmp_path):
    tracker = Tracker()
    tracker.log = lambda step, values: exit(3)
    logger = background.Background(tracker)
    logger.start(describe(tmp_path))
    logger.log(1, {})
    with pytest.raises(RuntimeError, match="3"):
        logger.close()


def test_steps_do_not_wait_for_a_tracker(tmp_path, monkeypatch):
    """It hangs: the calls queue up to the limit, and the end is not waited for long."""
    monkeypatch.setattr(background, "CLOSE_SECONDS", 0.01)
    monkeypatch.setattr(background, "MOST_WAITING", 5)
    hanging = threading.Event()
    tracker = Tracker()
    tracker.log = lambda step, values: hanging.wait()
    logger = background.Background(tracker)
    logger.start(describe(tmp_path))
    logger.log(1, {})
    with pytest.raises(TimeoutError, match="some figures were not sent within 0 s"):
        logger.close()
    for step in range(2, 5):  # two calls wait already
        logger.log(step, {})
    with pytest.raises(TimeoutError, match="5 calls behind"):
        logger.log(5, {})
    hanging.set()


def test_a_start_that_hangs_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(background, "START_SECONDS", 0.01)
    hanging = threading.Event()
    tracker = Tracker()
    tracker.start = lambda run: hanging.wait() and "id"
    with pytest.raises(TimeoutError, match="no answer within 0 s"):
        background.Background(tracker).start(describe(tmp_path))
    hanging.set()


# ---- continued runs


@pytest.mark.parametrize(
    ("end", "checkpoint"), [(3, 0), (3, 2), (4, 0), (4, 2), (5, 4), (5, 0)]
)
def test_a_continued_run_is_the_same_one_with_each_figure_once(
    tmp_path, end, checkpoint
):
    """The first part is killed after step `end`, without a call of `close`."""
    rows = []
    first = continued.Continued("fake", Tracker(rows))
    assert first.start(describe(tmp_path)) == "run-1"
    for step in range(1, end + 1):
        first.log(step, {"objective": 1 / step})
        if step % 2 == 0 and step < end:  # killed during the last validation
            first.log(step, {"validation/loss": 2 / step})
    second = Tracker(rows)
    steps = range(checkpoint + 1, 7)
    follow(continued.Continued("fake", second), tmp_path, steps, checkpoint)
    assert second.run.id == "run-1"
    training = [step for step, values in rows if "objective" in values]
    assert training == [1, 2, 3, 4, 5, 6]
    validated = [step for step, values in rows if "validation/loss" in values]
    assert validated == [2, 4, 6]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"id": "x"}', "\0" * 400])
def test_a_damaged_record_of_a_tracker_begins_a_new_run(tmp_path, content):
    (tmp_path / "loggers").mkdir()
    (tmp_path / "loggers" / "fake.json").write_text(content)
    tracker = Tracker()
    follow(continued.Continued("fake", tracker), tmp_path, [1])
    assert tracker.run.id == ""
    record = json.loads((tmp_path / "loggers" / "fake.json").read_text())
    assert record == {"id": "run-1", "last": {"training": 1}}


# ---- whole runs

SMALL = [
    ("tasks", "irony"),
    ("data.fraction", "0.1"),
    ("epochs", "2"),
    ("batch_size", "64"),
    ("backbone.hidden_size", "16"),
    ("backbone.intermediate_size", "32"),
    ("backbone.num_hidden_layers", "1"),
    ("data.cache_dir", ""),
    ("data.max_shapes", "1"),
    ("devices", "1"),
    ("warm_up", "0.5"),
]


@pytest.fixture
def tracker(monkeypatch):
    """Registered in place of TensorBoard."""
    tracker = Tracker()
    row = registry.Row("json", "json", lambda: tracker)
    monkeypatch.setitem(registry.LOGGERS, "tensorboard", row)
    return tracker


@pytest.mark.slow
def test_a_run_passes_rates_test_figures_and_hyper_parameters(tmp_path, tracker):
    config = configs.load("configs/baselines.py:ew_new_synthetic", SMALL)
    outcome = training.train(config, tmp_path / "run", lambda *_: interfaces.Watch())
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"step": step, **values} for step, values in tracker.rows
    ]
    rates = [x["learning_rate"] for _, x in tracker.rows if "learning_rate" in x]
    half = len(rates) // 2
    rising = [config.learning_rate * k / half for k in range(1, half + 1)]
    expected = [*rising, *[config.learning_rate] * half]
    np.testing.assert_allclose(rates, expected, rtol=1e-12)
    test = outcome.results["test"]
    named = {f"test/irony/{name}": value for name, value in test["irony"].items()}
    expected = {**named, "test/avg": test["avg"]}
    assert tracker.rows[-1] == (outcome.results["steps"], expected)
    assert tracker.run.hyper_parameters["method.name"] == "ew"
    assert tracker.run.hyper_parameters == config_values.flat(config)
    assert tracker.run.name == f"{tmp_path.name}/run"
    assert tracker.calls[-1] == "close"


@pytest.mark.parametrize("taken", [0, 1, 3, 4, 9])
def test_the_logged_rate_is_that_of_the_compiled_step(taken):
    settings = build.Settings(5e-5, np.int32(4), 1.0, {})
    rate = float(build.make_rate(settings)(np.asarray(taken)))
    assert rate == 5e-5 * min(taken + 1, 4) / 4
    settings = settings._replace(learning_rate=np.float32(5e-5))
    compiled = jax.jit(build.make_rate(settings))(np.int32(taken))
    np.testing.assert_allclose(rate, compiled, rtol=1e-6)


# ---- names


def test_the_names_are_the_same_in_both_places():
    assert tuple(registry.LOGGERS) == config_values.LOGGERS


def test_an_unknown_logger_is_refused():
    with pytest.raises(InputError) as error:
        configs.load("configs/mtra.py:new_synthetic", [("loggers", "wandb,mlfow")])
    message = "loggers: unknown logger 'mlfow'; did you mean mlflow?"
    assert str(error.value) == message


def test_a_logger_that_is_not_installed_is_refused_before_training(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(registry.importlib.util, "find_spec", lambda name: None)
    config = configs.load("configs/mtra.py:new_synthetic", [("loggers", "wandb")])
    with pytest.raises(InputError) as error:
        training.train(config, tmp_path / "run", lambda *_: interfaces.Watch())
    assert str(error.value) == (
        "loggers: wandb needs wandb, which is not installed; expected pip install wandb"
    )
    assert not (tmp_path / "run").exists()


# ---- each tracker, where it is installed


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """Logs a run in two parts with the tracker `name`; returns the work directory."""
    for name in ("WANDB_DIR", "WANDB_PROJECT", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))

    def store(name):
        lines = []
        for steps, first in ((range(1, 4), 0), (range(3, 7), 2)):
            (logger,) = registry.start([name], describe(tmp_path, first), lines.append)
            for step in steps:
                logger.log(step, {"objective": 1 / step, "loss/irony": math.nan})
            logger.log(step, {"validation/loss": 0.5, "validation/loss/f1:é": 0.25})
            logger.flush()
            logger.log(6, {"test/avg": 50.0}) if first else None
            logger.close()
        assert lines == []
        return tmp_path

    return store


OBJECTIVES = {step: 1 / step for step in range(1, 7)}


def wandb_records(path):
    """The records of a .wandb file: a LevelDB log of protocol buffers."""
    from wandb.proto import wandb_internal_pb2

    content, result, parts = path.read_bytes(), [], b""
    at = 7  # of the file's header
    while at < len(content):
        if 32768 - at % 32768 < 7:  # no room for a header in this block
            at += 32768 - at % 32768
            continue
        _, size, kind = struct.unpack("<IHB", content[at : at + 7])
        parts += content[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or the last part
            result.append(wandb_internal_pb2.Record.FromString(parts))
            parts = b""
    return result


ALONE = """
import importlib.util, pathlib, sys
from mtra_jax.runs.loggers import contract, tensorboard
logger = tensorboard.TensorBoard()
logger.start(contract.RunDescription(pathlib.Path(sys.argv[1]), "a", {}, 0))
logger.close()
print("torch" in sys.modules, importlib.util.find_spec("torch") is not None)
import torch
print(torch.tensor(2.0).item())
"""


@pytest.mark.processes
def test_tensorboard_does_without_pytorch_where_it_is_installed(tmp_path):
    pytest.importorskip("tensorboardX")
    pytest.importorskip("torch")
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(tmp_path)],
        env=xla_flags.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["False", "True", "2.0"]
    assert list((tmp_path / "tensorboard").glob("events*"))


@pytest.mark.processes
def test_wandb_offline(stored):
    pytest.importorskip("wandb", reason="needs the extra wandb")
    directory = stored("wandb")
    paths = sorted(directory.glob("wandb/offline-run-*/run-*.wandb"))
    assert len({path.name for path in paths}) == 1, "one id for both parts"
    records = [record for path in paths for record in wandb_records(path)]
    rows = {}
    for record in records:
        if record.WhichOneof("record_type") == "history":
            row = {x.key or "/".join(x.nested_key): x for x in record.history.item}
            step = record.history.step.num
            assert step not in rows
            rows[step] = {k: json.loads(x.value_json) for k, x in row.items()}
    assert {step: row["objective"] for step, row in rows.items()} == OBJECTIVES
    assert rows[6]["test/avg"] == 50.0
    config = {
        item.key: json.loads(item.value_json)
        for record in records
        for item in (*record.run.config.update, *record.config.update)
    }
    assert config["method.name"] == "mtra"
    assert config["seed"] == 0


def test_trackio(stored):
    pytest.importorskip("trackio", reason="needs the extra trackio")
    from trackio import sqlite_storage

    storage = sqlite_storage.SQLiteStorage
    stored("trackio")
    (run,) = storage.get_runs("mtra-jax")
    assert run.startswith("runs/a ")
    rows = storage.get_logs("mtra-jax", run)
    objectives = [(x["step"], x["objective"]) for x in rows if "objective" in x]
    assert objectives == list(OBJECTIVES.items())
    assert [(x["step"], x["test/avg"]) for x in rows if "test/avg" in x] == [(6, 50.0)]
    config = storage.get_run_config("mtra-jax", run)
    assert config["method.name"] == "mtra"


def test_lines_about_retries_are_dropped_in_the_thread_of_mlflow_alone(caplog):
    logger = logging.getLogger("urllib3.connectionpool")
    before = list(logger.filters)
    try:
        mlflow_runs.hush_retries()
        logger.warning("own")
        other = threading.Thread(target=logger.warning, args=["other"])
        other.start()
        other.join()
    finally:
        logger.filters = before
    assert caplog.messages == ["other"]


def test_mlflow_files(stored):
    mlflow = pytest.importorskip("mlflow", reason="needs the extra mlflow")
    directory = stored("mlflow")
    client = mlflow.MlflowClient((directory / "mlruns").as_uri())
    experiment = client.get_experiment_by_name("mtra-jax")
    (run,) = client.search_runs([experiment.experiment_id])
    history = client.get_metric_history(run.info.run_id, "objective")
    assert [(x.step, x.value) for x in history] == list(OBJECTIVES.items())
    assert run.data.metrics["test/avg"] == 50.0
    assert run.data.metrics["validation/loss"] == 0.5
    assert run.data.metrics["validation/loss.f1_é"] == 0.25
    assert run.data.params["tasks"] == '["irony"]'
    assert run.data.params["method.name"] == "mtra"
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "runs/a"
