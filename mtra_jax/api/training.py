"""Tasks, an encoder and a method as Python values -> a trained `Model`."""

import contextlib
import copy
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from mtra_jax import config as configs
from mtra_jax import config_files, config_values, files, paths, preset_files
from mtra_jax.api import inputs
from mtra_jax.api.loading import load
from mtra_jax.api.model import Model
from mtra_jax.data.splits.examples import Data
from mtra_jax.errors import InputError, Interrupted, shown
from mtra_jax.methods import registry
from mtra_jax.reports.progress import bars, end_of_run
from mtra_jax.runs.directory import continuation
from mtra_jax.runs.processes import signals
from mtra_jax.runs.training import display, interfaces, loop
from mtra_jax.runs.training import run as training
from mtra_jax.runs.training.preparation import Prepared
from mtra_jax.tasks import OWN
from mtra_jax.train.devices import start_devices

PRESET = "configs/own.py"
"""The values of own tasks."""
FLAG = "--config."
OnEpoch = Callable[[int, float, dict[str, Any]], Any]
_TRAINING = threading.Lock()


def train(
    config: ConfigDict | str | None = None,
    *,
    tasks: inputs.Given | None = None,
    backbone: str | Path | Mapping[str, Any] | None = None,
    method: str | Mapping[str, Any] | None = None,
    workdir: str | Path,
    continue_from: str | Path | None = None,
    on_epoch: OnEpoch | None = None,
    quiet: bool = False,
    **overrides: Any,
) -> Model:
    """Trains a model in the directory `workdir`, or continues the run that is there.

    `config`: a configuration, or FILE:NAME of a preset, such as "mtra:tiny_synthetic".
      The other arguments change it; `tasks` and `backbone` may then be left out.
    `tasks`: a TOML file, the name of a built-in benchmark, or a list of (Task, {split:
      examples}).
    `backbone`: a directory or a name on the hub; "" for a new encoder, or its sizes, such
      as {"hidden_size": 64}. Not given with `warm_start=RUN`, whose encoder is taken.
    `method`: its name, or its name and options, as {"name": "mtra", "beta": 0.5}; without
      it that of `config`, or "mtra".
    `workdir`: the directory of the run.
    `continue_from`: the directory of a finished run to train for more epochs in the new
      directory `workdir`, as `continue_from="runs/mine", epochs=20`. Its configuration is
      taken; `tasks` are given again if they are a list or have moved.
    `on_epoch`: called as on_epoch(epoch, loss, figures) after each validation, with the
      epoch from 1, its validation loss, and its figures as in `results.json`. What it
      raises ends training and reaches the caller, an OSError, a MemoryError or an error of
      JAX's runtime as a RunError; the epoch is saved, and the same call continues after
      it. A finished run calls it no more.
    `quiet`: only problems are reported, on standard error.
    `overrides`: any other keys of the configuration, such as `epochs=3`,
      `data={"limit": 100}` or `**{"data.limit": 100}`.

    Without `config` all other values are the paper's for RoBERTa (rate 5e-5, β = 1,
    ε = 5; own tasks: ε = 1), whatever the backbone. `config="mtra:bert_affecteval"` has
    those of another encoder and benchmark.

    Control-C, or a notebook's button, stops training after the next step and saves its
    state; a second one stops at once. The same call continues. Python's own handler of
    the signal is back afterwards, and a caller's other one is left alone. JAX's cache
    of compiled programs stays set for the process, except with
    `data={"cache_dir": ""}`. After training all compiled functions of the process are
    dropped (`jax.clear_caches`); your own ones are compiled again at their next call.
    Where JAX's CUDA plugin is installed and no device is in use yet, `XLA_FLAGS` of the
    process turn off Triton's matrix products, unless they name these: cuBLAS's compile
    faster.
    A process trains one run at a time: a call from a second thread is refused.

    Raises:
      InputError: a value, a file or an example is wrong, `workdir` has another run, or
        another thread trains.
      RunError: training failed.
      Interrupted: the user has interrupted the call; a `KeyboardInterrupt`.
    """
    is_path = (
        isinstance(workdir, str | Path) and str(workdir) and "\0" not in str(workdir)
    )
    if not is_path:
        raise InputError(
            f"workdir is {shown(workdir)}; expected the path of a directory"
        )
    if not (on_epoch is None or callable(on_epoch)):
        rule = "a function of epoch, loss and figures"
        raise InputError(f"on_epoch is {shown(on_epoch)}; expected {rule}")
    start_devices()
    directory, source = Path(paths.expand(str(workdir))), _directory(continue_from)
    if source is None:
        chosen, data = configuration(config, tasks, backbone, method, overrides)
    elif config is None and backbone is None and method is None:
        chosen, data = _longer(source, tasks, overrides)
    else:
        raise InputError(
            f"continue_from={str(continue_from)!r} with config, backbone or method: they are "
            "those of the run; expected only keys such as epochs=20"
        )
    with _alone(directory):
        if source is not None:
            with _without_flags():
                continuation.begin(source, directory, chosen)
        _train(chosen, directory, data, on_epoch, quiet=quiet)
        return load(directory, cache_dir=chosen.data.cache_dir)


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Raises InputError if another thread of this process trains.

    Orbax's barriers and `jax.clear_caches` are of the whole process.
    """
    if not _TRAINING.acquire(blocking=False):
        raise InputError(
            f"{directory}: another run trains in this process; expected one call of train "
            "after the other, or a process for each"
        )
    try:
        yield
    finally:
        _TRAINING.release()


def _train(
    config: ConfigDict,
    directory: Path,
    data: Data | None,
    on_epoch: OnEpoch | None,
    *,
    quiet: bool,
) -> None:
    """Runs the training; an interrupt of the user becomes `Interrupted`."""
    has_begun = threading.Event()
    with signals.interrupts(has_begun.is_set) as requests:
        view = display.Display(
            bars.write_line,
            warn=bars.write_log_line if quiet else None,
            should_stop=lambda step: requests.should_stop(),
            quiet=quiet,
        )

        def watch_of(prepared: Prepared, at: loop.Progress) -> interfaces.Watch:
            has_begun.set()
            watch = view.watch(prepared, at)
            return watch if on_epoch is None else _calling(on_epoch, watch)

        try:
            with view:
                outcome = training.train(config, directory, watch_of, data)
        except loop.Stopped as stopped:
            raise Interrupted(f"{stopped}, saved; the same call continues") from None
        except KeyboardInterrupt as interrupt:
            raise Interrupted("interrupted; the same call continues") from interrupt
    _show_end(outcome, config, quiet=quiet)


def _calling(on_epoch: OnEpoch, watch: interfaces.Watch) -> interfaces.Watch:
    """The callbacks of `watch`, and `on_epoch` after that of an epoch."""

    def after_epoch(
        epoch: int, loss: float, figures: dict[str, Any], *others: Any
    ) -> None:
        watch.epoch(epoch, loss, figures, *others)
        on_epoch(epoch, loss, copy.deepcopy(figures))

    return watch._replace(epoch=after_epoch)


def _show_end(outcome: training.Outcome, config: ConfigDict, *, quiet: bool) -> None:
    """Writes the table of the test figures; with `quiet` only what went wrong."""
    results, tasks = outcome.results, outcome.benchmark.tasks
    has_bound = config.method.get("task_alignment", False)
    if quiet:
        write, lines = bars.write_log_line, end_of_run.problems(results, tasks)
    else:
        name = registry.title(config.method.name, config.method)
        write = bars.write_line
        lines = [end_of_run.report(results, tasks, name, has_bound=has_bound)]
    # A stream that is closed, full or absent must not keep the model from the caller.
    with contextlib.suppress(AttributeError, OSError, ValueError):
        for line in lines:
            write(line.replace(FLAG, ""))


def _directory(path: str | Path | None) -> Path | None:
    return None if path is None else Path(paths.expand(str(path)))


@contextlib.contextmanager
def _without_flags() -> Iterator[None]:
    """Errors that name flags of a command name arguments of `train` instead."""
    try:
        yield
    except InputError as error:
        text = str(error).replace(FLAG, "")
        for flag in ("continue_from", "warm_start", "workdir"):
            text = text.replace(f"--{flag}", flag)
        raise InputError(text) from error


def _longer(
    source: Path, tasks: inputs.Given | None, overrides: Mapping[str, Any]
) -> tuple[ConfigDict, Data | None]:
    """The configuration for more epochs of the run in `source`, and its examples.

    Raises:
      InputError: see `continuation.configuration`.
    """
    values = _overrides(overrides)
    data = None
    if tasks is not None:
        values, data = {**_task_values(tasks), **values}, _data(tasks)
    with _without_flags():
        chosen = continuation.configuration(
            source, list(values.items()), has_data=data is not None
        )
    if data is not None:
        data = data.select(configs.task_names(chosen) or data.benchmark.task_names)
    return chosen, data


def configuration(
    config: ConfigDict | str | None,
    tasks: inputs.Given | None,
    backbone: str | Path | Mapping[str, Any] | None,
    method: str | Mapping[str, Any] | None,
    overrides: Mapping[str, Any],
) -> tuple[ConfigDict, Data | None]:
    """The configuration of `train`, and the examples of tasks that are a list.

    Raises:
      InputError: a key is unknown, a value does not fit, or tasks or backbone are
        missing.
    """
    if not (config is None or isinstance(config, ConfigDict | str)):
        raise InputError(
            f"config is {shown(config)}; expected a configuration, or FILE:NAME; single "
            "keys are arguments, such as epochs=3"
        )
    chosen = (
        method if method is None or isinstance(method, Mapping) else {"name": method}
    )
    values = _overrides({**overrides, **_encoder(backbone), "method": chosen})
    origin, encoder = values.get("warm_start"), values.get("backbone.path")
    if origin and isinstance(backbone, Mapping):
        encoder = shown(dict(backbone))
    if origin and encoder:
        raise InputError(
            f"backbone={encoder!r} with warm_start={origin!r}: the encoder is that of "
            "the run; expected one of the two"
        )
    if config is None and (tasks is None or (encoder is None and not origin)):
        missing = "tasks" if tasks is None else "backbone"
        raise InputError(f"no {missing}; expected {missing}=, or a configuration")
    data = None
    if tasks is not None:
        values, data = {**_task_values(tasks), **values}, _data(tasks)
    if data is not None:
        values.setdefault("tasks", ",".join(data.benchmark.task_names))
        data = data.select([name.strip() for name in values["tasks"].split(",")])
    with _without_flags():
        return configs.apply(_start(config, tasks), list(values.items())), data


def _encoder(backbone: str | Path | Mapping[str, Any] | None) -> dict[str, Any]:
    """The keys that `backbone` sets.

    Raises:
      InputError: `backbone` is another thing.
    """
    if backbone is None:
        return {}
    if isinstance(backbone, Mapping):
        return {"backbone": {"path": "", **backbone}}
    if not isinstance(backbone, str | Path):
        raise InputError(
            f"backbone is {shown(backbone)}; expected a directory, a name on the hub, or "
            "sizes of a new encoder, such as {'hidden_size': 64}"
        )
    return {"backbone.path": str(backbone)}


def _start(config: ConfigDict | str | None, tasks: inputs.Given | None) -> ConfigDict:
    """The configuration before anything else is set."""
    if isinstance(config, str):
        return configs.load(config)
    if config is not None:
        return configs.from_dict(configs.to_dict(config))
    if tasks is None or inputs.is_benchmark(tasks):
        return configs.default_config()
    preset = config_files.execute(preset_files.find(PRESET, is_shipped=True))
    return configs.make("mtra", preset.values(""))


def _task_values(tasks: inputs.Given) -> dict[str, str]:
    """The keys that `tasks` sets, as text."""
    if inputs.is_benchmark(tasks):
        return {"benchmark": str(tasks)}
    if inputs.is_file(tasks):
        return {"benchmark": OWN, "data.tasks": inputs.check_file(tasks)}
    return {"benchmark": OWN}


def _data(tasks: inputs.Given) -> Data | None:
    """The examples of a list; None where the configuration names the data."""
    is_named = inputs.is_benchmark(tasks) or inputs.is_file(tasks)
    return None if is_named else inputs.training_data(tasks)


def _overrides(values: Mapping[str, Any]) -> dict[str, str]:
    """Keyword arguments by dotted key, as the text that the command line has.

    None leaves a key as it is.

    Raises:
      InputError: a key is there twice.
    """
    given: dict[str, str] = {}
    for name, value in values.items():
        for key, own in files.flatten({name: value}).items():
            if key in given:
                raise InputError(f"{key} is there twice; expected it once")
            if own is not None:
                given[key] = config_values.as_text(own)
    return given
