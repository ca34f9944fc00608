"""A configuration and a work directory -> a finished run with all its files."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from mtra_jax import failures
from mtra_jax.data import benchmarks, fingerprints, tokens
from mtra_jax.models import pretrained
from mtra_jax.reports import comparison
from mtra_jax.runs import (
    build,
    checkpoints,
    inputs,
    locks,
    loop,
    metrics_log,
    orbax_errors,
    processes,
    results,
    workdir,
)
from mtra_jax.tasks import Benchmark


class Outcome(NamedTuple):
    """A finished run: its tasks, and results as in `results.json`."""

    benchmark: Benchmark
    results: dict[str, Any]


def train(
    config: ConfigDict,
    directory: Path,
    watch_of: Callable[[build.Prepared, loop.Progress], loop.Watch],
) -> Outcome:
    """Trains in the work directory `directory`, or continues the run that is there.

    `watch_of(prepared, progress)` returns the callbacks. If the run has finished, its
    stored results are returned.

    Raises:
      InputError: the configuration cannot be run; `directory` holds a run of another
        configuration, data or encoder, or another process trains there.
      loop.TrainingError: training broke down, or its files cannot be written.
      loop.Stopped: `watch.should_stop()`; the same call continues.
    """
    workdir.check(config, directory)
    finished = workdir.read_results(directory)
    if finished is not None:
        comparison.check_results(finished, str(directory / workdir.RESULTS))
        Sources().check(config, directory)
        return Outcome(build.benchmark_of(config), finished)
    if processes.is_writer():
        with _named_failures():
            locks.check_free(directory)
    build.use_compilation_cache(config)
    prepared = build.prepare_run(config)
    with writing(directory):
        # Again: another process may have begun here meanwhile.
        workdir.check(config, directory)
        return _train(config, directory, prepared, watch_of)


class Sources:
    """Data and encoders that configurations name, as they are now; each is read once."""

    def __init__(self) -> None:
        self._data: dict[Any, dict[str, Any]] = {}
        self._encoders: dict[str, dict[str, str]] = {}

    def check(self, config: ConfigDict, directory: Path) -> None:
        """Raises InputError where they are not those of the run in `directory`.

        An encoder from the hub is taken to be the same under the same name; a new one
        follows from the data and the configuration.
        """
        made_from = inputs.read(directory)
        inputs.check_data(directory, made_from, self._data_of(config))
        path = config.backbone.path
        is_local = os.path.isdir(os.path.expanduser(path))
        if is_local or path != workdir.read_config(directory).backbone.path:
            inputs.check_encoder(directory, made_from, self._encoder_of(config))

    def _data_of(self, config: ConfigDict) -> dict[str, Any]:
        benchmark = build.benchmark_of(config)
        key = benchmark, config.data.dir
        if key not in self._data:
            splits = benchmarks.read_examples(benchmark, config.data.dir)
            self._data[key] = fingerprints.of_splits(splits)
        return self._data[key]

    def _encoder_of(self, config: ConfigDict) -> dict[str, str]:
        path = config.backbone.path
        if path not in self._encoders:
            encoder = build.load_backbone(config, train_texts=[])
            self._encoders[path] = inputs.of_encoder(
                encoder.config, encoder.tokenizer, encoder.params if path else {}
            )
        return self._encoders[path]


@contextlib.contextmanager
def writing(workdir: Path) -> Iterator[None]:
    """Holds the lock of `workdir`; failing disks, devices and processes of the run, and
    too little memory, become a TrainingError.

    Raises:
      InputError: another process trains there.
    """
    with (
        _named_failures(),
        locks.held(workdir) if processes.is_writer() else contextlib.nullcontext(),
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
            f"another process of this run is lost: {orbax_errors.reason(error)}; the same "
            "command in each of them continues"
        ) from error
    except (MemoryError, OSError, ValueError) as error:
        if isinstance(error, ValueError) and not failures.out_of_memory(error):
            raise
        raise loop.TrainingError(failures.surroundings(error)) from error


def _train(
    config: ConfigDict,
    directory: Path,
    prepared: build.Prepared,
    watch_of: Callable[[build.Prepared, loop.Progress], loop.Watch],
) -> Outcome:
    passed_over: list[str] = []
    with contextlib.ExitStack() as opened:
        store = checkpoints.open_store(directory / workdir.CHECKPOINTS)
        opened.callback(store.close)
        if store.latest_step() is not None:
            made_from = inputs.read(directory)
            inputs.check_data(directory, made_from, prepared.inputs.data)
            inputs.check_encoder(directory, made_from, prepared.inputs.encoder)
        elif processes.is_writer():
            # Whatever an earlier try without a checkpoint left is made again.
            _write_start(directory, prepared)
        if processes.is_writer():
            _write_environment(directory, prepared)
            workdir.write_config(config, directory)
        run, progress = loop.resume(prepared.run, store, passed_over.append)
        record = metrics_log.Records(
            directory, step=progress.step, active=processes.is_writer()
        )
        opened.callback(record.close)
        watch = watch_of(prepared, progress)
        for line in passed_over:
            watch.say(line)
        params, progress = loop.fit(run, store, record, progress, watch)
    bar = loop.stoppable(watch, progress.step)
    found = results.finish(directory, prepared, params, progress, bar)
    return Outcome(run.benchmark, found)


def _write_start(directory: Path, prepared: build.Prepared) -> None:
    """Writes what the run's checkpoints are read with, before the first of them."""
    backbone = prepared.backbone
    temporary = directory / f".{workdir.ENCODER}"
    shutil.rmtree(temporary, ignore_errors=True)
    length = backbone.config.max_length
    tokens.save_tokenizer(backbone.tokenizer, temporary, length)
    pretrained.save_config(temporary, backbone.config)
    target = directory / workdir.ENCODER
    if target.exists():
        shutil.rmtree(target)
    temporary.rename(target)
    inputs.write(directory, prepared.inputs)


def _write_environment(directory: Path, prepared: build.Prepared) -> None:
    shapes = prepared.run.validation.batcher.shapes
    environment = metrics_log.environment(prepared.devices)
    environment["evaluation_shapes"] = [list(shape) for shape in shapes]
    metrics_log.write_json(directory / workdir.ENVIRONMENT, environment)
