"""A configuration and a work directory -> a finished run with all its files."""

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from mtra_jax import config as configs
from mtra_jax import failures, metrics
from mtra_jax.data import prepare, tokens
from mtra_jax.errors import InputError, shown
from mtra_jax.models import pretrained
from mtra_jax.tasks import Benchmark
from mtra_jax.train import (
    build,
    checkpoints,
    complaints,
    evaluate,
    locks,
    loop,
    parallel,
    records,
    results,
)
from mtra_jax.types import Params

CONFIG = "config.json"
FORMAT = 1
"""Of the work directory: the number under "format" in `config.json`."""
ENVIRONMENT = "environment.json"
RESULTS = results.RESULTS
ENCODER = results.ENCODER
CHECKPOINTS = "checkpoints"
# What may differ when a run is continued: it changes where and how often, not what.
FREE_KEYS = ("data.cache_dir", "data.dir", "devices", "checkpoint_every")


class Outcome(NamedTuple):
    """What a run found: results as in `results.json`."""

    benchmark: Benchmark
    results: dict[str, Any]


class Saved(NamedTuple):
    """A model read back from a work directory."""

    config: ConfigDict
    benchmark: Benchmark
    backbone: build.Backbone
    params: Params


def train(
    config: ConfigDict,
    workdir: Path,
    watch_of: Callable[[build.Prepared, loop.Progress], loop.Watch],
) -> Outcome:
    """Trains, or goes on where `workdir` stands, and leaves the files of a run there.

    `watch_of(prepared, progress)` gives what sees it go by. A finished run is read back.

    Raises:
      InputError: the configuration cannot be run; `workdir` holds another one, or
        another process trains there.
      loop.TrainingError: training broke down, or its files cannot be written.
      loop.Stopped: `watch.should_stop()`; the same call continues.
    """
    check_workdir(config, workdir)
    finished = read_results(workdir)
    if finished is not None:
        return Outcome(build.benchmark_of(config), finished)
    if parallel.is_writer():
        with _named_failures():
            locks.check_free(workdir)
    build.use_compilation_cache(config)
    prepared = build.prepare_run(config)
    with writing(workdir):
        # Again: another process may have begun here meanwhile.
        check_workdir(config, workdir)
        return _train(config, workdir, prepared, watch_of)


@contextlib.contextmanager
def writing(workdir: Path) -> Iterator[None]:
    """Holds the lock of `workdir`; failing disks, devices and processes of the run, and
    too little memory, become a TrainingError.

    Raises:
      InputError: another process trains there.
    """
    with (
        _named_failures(),
        locks.held(workdir) if parallel.is_writer() else contextlib.nullcontext(),
    ):
        yield


@contextlib.contextmanager
def _named_failures() -> Iterator[None]:
    try:
        yield
    except checkpoints.WriteError as error:
        raise loop.TrainingError(str(error)) from error
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1 or failures.out_of_memory(error):
            raise loop.TrainingError(failures.surroundings(error)) from error
        raise loop.TrainingError(
            f"another process of this run is lost: {complaints.reason(error)}; the same "
            "command in each of them continues"
        ) from error
    except (MemoryError, OSError) as error:
        raise loop.TrainingError(failures.surroundings(error)) from error


def _train(
    config: ConfigDict,
    workdir: Path,
    prepared: build.Prepared,
    watch_of: Callable[[build.Prepared, loop.Progress], loop.Watch],
) -> Outcome:
    if parallel.is_writer():
        _write_start(config, workdir, prepared)
    passed_over: list[str] = []
    with contextlib.ExitStack() as opened:
        store = checkpoints.open_store(workdir / CHECKPOINTS)
        opened.callback(store.close)
        run, progress = loop.resume(prepared.run, store, passed_over.append)
        record = records.Records(
            workdir, step=progress.step, active=parallel.is_writer()
        )
        opened.callback(record.close)
        watch = watch_of(prepared, progress)
        for line in passed_over:
            watch.say(line)
        params, progress = loop.fit(run, store, record, progress, watch)
    bar = loop.stoppable(watch, progress.step)
    found = results.finish(workdir, prepared, config.data.dir, params, progress, bar)
    return Outcome(run.benchmark, found)


def check_workdir(config: ConfigDict, workdir: Path) -> None:
    """Raises InputError where `workdir` is the run of another configuration."""
    path = workdir / CONFIG
    if workdir.exists() and not workdir.is_dir():
        raise InputError(f"{workdir}: not a directory")
    if not path.exists():
        return
    old, new = flat(read_config(workdir)), flat(config)
    for key in sorted(old.keys() | new.keys()):
        if key not in FREE_KEYS and old.get(key) != new.get(key):
            raise InputError(
                f"{path}: {key} is {old.get(key)!r} there and {new.get(key)!r} here; "
                "expected the same configuration, or a new --workdir"
            )


def flat(config: ConfigDict) -> dict[str, Any]:
    """The values by their dotted keys."""
    found = {}
    for key in configs.keys(config):
        value: Any = config
        for part in key.split("."):
            value = value[part]
        found[key] = value
    return found


def read_config(workdir: Path) -> ConfigDict:
    """The configuration of the run in `workdir`.

    Raises:
      InputError: there is none, it is damaged, or of a newer version.
    """
    path = workdir / CONFIG
    try:
        values = _read_json(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected a run's directory") from None
    if isinstance(values, dict):
        _check_format(values.pop("format", FORMAT), path)
    try:
        return configs.from_dict(values)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: damaged: {error}") from error


def _check_format(number: Any, path: Path) -> None:
    if type(number) is not int or number < 1:
        raise InputError(f"{path}: format is {shown(number)}; expected {FORMAT}")
    if number > FORMAT:
        raise InputError(
            f"{path}: format {number}, written by a newer mtra_jax; expected at most "
            f"{FORMAT}"
        )


def write_config(config: ConfigDict, workdir: Path) -> None:
    """Writes `config.json`, with the number of the format first."""
    values = {"format": FORMAT, **configs.to_dict(config)}
    records.write_json(workdir / CONFIG, values)


def read_results(workdir: Path) -> dict[str, Any] | None:
    """The results of the run in `workdir`, None where it has not finished.

    Raises:
      InputError: the file is damaged.
    """
    path = workdir / RESULTS
    try:
        found = _read_json(path, "; remove it to score again")
    except FileNotFoundError:
        return None
    if not isinstance(found, dict):
        raise InputError(
            f"{path}: damaged: {shown(found)}; expected an object; remove it to score "
            "again"
        )
    return found


def _read_json(path: Path, advice: str = "") -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: damaged: {error}{advice}") from error


def read_benchmark(workdir: Path) -> Benchmark:
    """The benchmark and tasks of the run in `workdir`."""
    return build.benchmark_of(read_config(workdir))


def load(workdir: Path, cache_dir: str | None = None) -> Saved:
    """The best model of the run in `workdir`.

    The run may be anyone's: `cache_dir`, or else the default, is put in place of the
    cache that its configuration names.

    Raises:
      InputError: there is no run, or it has no checkpoint.
    """
    config = read_config(workdir)
    own = configs.default_config().data.cache_dir if cache_dir is None else cache_dir
    config.data.cache_dir = own
    build.use_compilation_cache(config)
    directory = workdir / ENCODER
    encoder_config = pretrained.read_config(directory)
    params = load_best_params(workdir)
    backbone = build.Backbone(
        encoder_config, params["encoder"], tokens.load_tokenizer(directory)
    )
    return Saved(config, build.benchmark_of(config), backbone, params)


def load_best_params(workdir: Path) -> Params:
    """The parameters of the best epoch."""
    directory = workdir / CHECKPOINTS
    if not checkpoints.is_available():
        raise InputError(f"{directory}: reading checkpoints needs orbax-checkpoint")
    if not directory.is_dir():
        raise InputError(f"{directory}: no such directory; the run has no checkpoint")
    finished = read_results(workdir)
    store = checkpoints.Checkpoints(directory, read_only=True)
    with contextlib.closing(store):
        best = store.best_step()
        if best is None:
            raise InputError(f"{directory}: no checkpoint")
        if finished is not None:
            loop.check_best(store.read_record(best), finished["best_epoch"])
        return store.restore_params(best)


def evaluate_workdir(
    workdir: Path,
    split: str,
    data_dir: str | None = None,
    bar: evaluate.Bar = evaluate.no_bar,
    cache_dir: str | None = None,
) -> tuple[Benchmark, dict[str, Any]]:
    """Scores the best model of `workdir` on a split: its part of `results.json`.

    Raises:
      InputError: as `load`; or its data are the hub's, and `data_dir` is not "hub".
    """
    saved = load(workdir, cache_dir)
    if data_dir is not None:
        saved.config.data.dir = data_dir
    elif saved.config.data.dir == prepare.HUB:
        raise InputError(
            f"{workdir / CONFIG}: data.dir is {prepare.HUB!r} there; expected --data_dir "
            "hub, to go online, or --data_dir DIR"
        )
    prepared = build.prepare_run(saved.config, saved.backbone)
    chosen = {"validation": prepared.run.validation, "test": prepared.test}[split]
    params = parallel.replicate(saved.params, prepared.devices)
    found = evaluate.evaluate(
        prepared.run.forward, params, chosen, saved.benchmark, bar
    )
    return saved.benchmark, metrics.summarize(found.scores, saved.benchmark.tasks)


def _write_start(config: ConfigDict, workdir: Path, prepared: build.Prepared) -> None:
    """What must be there to read the run's checkpoints, before the first of them."""
    workdir.mkdir(parents=True, exist_ok=True)
    directory = workdir / ENCODER
    if not (directory / "config.json").exists():
        backbone = prepared.backbone
        temporary = workdir / f".{ENCODER}"
        shutil.rmtree(temporary, ignore_errors=True)
        length = backbone.config.max_length
        tokens.save_tokenizer(backbone.tokenizer, temporary, length)
        pretrained.save_config(temporary, backbone.config)
        temporary.rename(directory)
    records.write_json(workdir / ENVIRONMENT, records.environment(prepared.devices))
    write_config(config, workdir)


def make_predictor(saved: Saved, task_name: str) -> Callable[[list[str]], np.ndarray]:
    """Returns `predict(texts) -> outputs [N, d]`: probabilities, or values."""
    config, benchmark = saved.config, saved.benchmark
    own = benchmark.slots(task_name)
    task = next(task for task in benchmark.tasks if task.name == task_name)
    sizes = (0,) * len(benchmark.tasks)
    model, method = build.make_model(config, benchmark, saved.backbone.config, sizes)
    devices = parallel.choose_devices(1)
    forward = build.make_forward(model, method, devices)
    params = parallel.replicate(saved.params, devices)

    def predict(texts: list[str]) -> np.ndarray:
        split = build.unlabelled_split(config, benchmark, saved.backbone, texts)
        outputs, _ = evaluate.predict_outputs(forward, params, split)
        found = outputs[:, own].astype(np.float64)
        if task.is_classification:
            found = np.exp(found - found.max(axis=1, keepdims=True))
            found /= found.sum(axis=1, keepdims=True)
        return found

    return predict
