"""A configuration and a work directory -> a finished run with all its files."""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from mtra_jax import config as configs
from mtra_jax import config_values, failures
from mtra_jax.data.splits import targets
from mtra_jax.data.splits.examples import Data
from mtra_jax.reports.comparisons import comparison
from mtra_jax.runs.directory import (
    checkpoints,
    inputs_json,
    layout,
    locks,
    metrics_log,
    orbax_errors,
    tasks_json,
)
from mtra_jax.runs.loggers import contract
from mtra_jax.runs.loggers import registry as loggers
from mtra_jax.runs.processes import agreement, group
from mtra_jax.runs.training import (
    choices,
    inputs,
    interfaces,
    loop,
    preparation,
    results,
    same_inputs,
    selection,
    separate_tasks,
    warm_start,
)
from mtra_jax.runs.training.preparation import Prepared
from mtra_jax.tasks import Benchmark
from mtra_jax.train.devices import replicate

RATE_OF_PRETRAINED = 1e-4
"""Rates up to this one are for pretrained encoders."""

WatchOf = Callable[[Prepared, loop.Progress], interfaces.Watch]
"""(a prepared run, its progress) -> the callbacks of its training."""


class Outcome(NamedTuple):
    """A finished run: its tasks, and results as in `results.json`."""

    benchmark: Benchmark
    results: dict[str, Any]


def train(
    config: ConfigDict, directory: Path, watch_of: WatchOf, data: Data | None = None
) -> Outcome:
    """Trains in the work directory `directory`, or continues the run that is there.

    `data` replaces the tasks and examples that `config` names.

    If the run has finished, its stored results are returned. A method that trains its
    tasks separately has one run per task in `directory/TASK`; `directory` then holds the
    results of all tasks.

    After training all compiled functions of the process are dropped, others' too
    (`jax.clear_caches`): a later call compiles them again.

    Raises:
      InputError: the configuration cannot be run; `directory` holds a run of another
        configuration, data or encoder, or another process trains there; the processes of
        this run have different configurations or data.
      loop.TrainingError: training failed, or its files cannot be read or written.
      loop.Stopped: the callbacks' `should_stop` returned True; the same call continues.
    """
    agreement.check_same("--config", configs.to_dict(config), layout.OF_A_HOST)
    loggers.check(config.loggers)
    names = configs.separate_tasks(config)
    with _named_failures():  # also of what is read before training
        if names:
            return _train_separately(config, names, directory, watch_of, data)
        return _train_together(config, directory, watch_of, data)


def _train_separately(
    config: ConfigDict,
    names: tuple[str, ...],
    directory: Path,
    watch_of: WatchOf,
    data: Data | None,
) -> Outcome:
    layout.check(config, directory)
    with writing(directory):
        if group.is_writer():
            layout.write_config(config, directory)
        if data is None:
            data = inputs.load_data(config)
        for name in names:  # all of them before the first one trains
            selection.make(config.selection, data.benchmark.select([name]))
        outcomes = {}
        for name in names:
            own = configs.of_task(config, name)
            outcomes[name] = _train_together(
                own, directory / name, watch_of, data.select([name])
            )
        parts = (outcome.benchmark.tasks for outcome in outcomes.values())
        benchmark = Benchmark(config.benchmark, tuple(itertools.chain(*parts)))
        of_all = separate_tasks.results_of_all(
            benchmark, {name: outcome.results for name, outcome in outcomes.items()}
        )
        if group.is_writer():
            tasks_json.write(directory, benchmark)
            separate_tasks.write(directory, names, of_all)
    return Outcome(benchmark, of_all)


def _train_together(
    config: ConfigDict, directory: Path, watch_of: WatchOf, data: Data | None
) -> Outcome:
    """One run of all tasks of `config`."""
    layout.check(config, directory)
    finished = layout.read_results(directory)
    if finished is not None:
        comparison.check_results(finished, str(directory / layout.RESULTS))
        same_inputs.check_run(config, directory, same_inputs.Current(data))
        return Outcome(tasks_json.read(directory), finished)
    if group.is_writer():
        locks.check_free(directory)
    choices.use_compilation_cache(config)
    prepared = preparation.prepare(config, data=data, given=warm_start.read(config))
    agreement.check_same("inputs", prepared.inputs.fingerprints._asdict())
    try:
        with writing(directory):
            # Checked again: another process may have started here in the meantime.
            layout.check(config, directory)
            return _fit_and_score(config, directory, prepared, watch_of)
    finally:
        # `jax.pmap` holds a program, and memory maps by the hundred on a CPU, until the
        # caches are cleared. A process that trained run after run would be aborted at the
        # system's limit of maps (65,530 on Linux).
        jax.clear_caches()


def _fit_and_score(
    config: ConfigDict, directory: Path, prepared: Prepared, watch_of: WatchOf
) -> Outcome:
    damages: list[str] = []
    with contextlib.ExitStack() as logging:
        store = checkpoints.open_store(directory / layout.CHECKPOINTS)
        with contextlib.closing(store):
            if store.latest_step() is not None:
                _check_prepared(directory, prepared)
            elif group.is_writer():
                _write_prepared(directory, prepared)
            if group.is_writer():
                results.write_environment(directory, prepared.run, prepared.devices)
                layout.write_config(config, directory)
            run, progress = loop.resume(prepared.run, store, damages.append)
            # Once: a run stopped in a validation would copy them for every batch of it.
            state = replicate(run.state, prepared.devices, prepared.mapping)
            run = run._replace(state=state)
            watch = watch_of(prepared, progress)
            for line in (*damages, *_warnings(config)):
                watch.say(line)
            log = _open_log(config, directory, progress.step, watch)
            logging.callback(log.close)
            params, progress = loop.fit(run, store, log, progress, watch)
        bar = loop.stoppable(watch, progress.step)
        scored = results.finish(directory, prepared, params, progress, bar, log)
    benchmark = targets.with_thresholds(run.benchmark, scored["thresholds"])
    return Outcome(benchmark, scored)


def _warnings(config: ConfigDict) -> list[str]:
    """A line if a new encoder has a rate that is meant for a pretrained one."""
    rate = config.learning_rate
    if config.backbone.path or config.warm_start or rate > RATE_OF_PRETRAINED:
        return []
    return [
        f"a new encoder hardly learns at learning_rate {rate:g}; try 2e-3, as the presets "
        "of new encoders have it"
    ]


def _check_prepared(directory: Path, prepared: Prepared) -> None:
    """Raises InputError if the run in `directory` has other tasks, data or encoder."""
    benchmark = prepared.run.benchmark
    tasks_json.check(directory, benchmark)
    inputs_json.check(directory, prepared.inputs.fingerprints)
    # After the data, which determine balanced weights.
    tasks_json.check_losses(directory, benchmark)


def _write_prepared(directory: Path, prepared: Prepared) -> None:
    """Writes the files of a run that begins.

    A run that ended before its first checkpoint may have left some of them.
    """
    results.write_encoder_files(directory, prepared.inputs.backbone)
    inputs_json.write(directory, prepared.inputs.fingerprints)
    tasks_json.write(directory, prepared.run.benchmark)


def _open_log(
    config: ConfigDict, directory: Path, step: int, watch: interfaces.Watch
) -> metrics_log.MetricsLog:
    """The log of the run in `directory` after `step`; process 0 alone writes and sends."""
    # Two components: that of a task trained separately is only the task's name.
    name = "/".join(directory.absolute().parts[-2:])
    values = config_values.flat(config)
    run = contract.RunDescription(directory, name, values, step)
    return metrics_log.MetricsLog(
        directory,
        step=step,
        active=group.is_writer(),
        start=lambda: loggers.start(config.loggers, run, watch.say),
        diagnoses=config.diagnostics.every > 0,
    )


@contextlib.contextmanager
def writing(directory: Path) -> Iterator[None]:
    """Holds the lock of `directory`, and explains failures of disks, devices and processes.

    Raises:
      InputError: another process trains there.
      loop.TrainingError: a disk, a device or another process fails, or memory runs out.
    """
    with (
        _named_failures(),
        locks.held(directory) if group.is_writer() else contextlib.nullcontext(),
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
