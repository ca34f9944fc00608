"""Defaults, values of a file and a user's overrides -> a checked configuration."""

from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from mtra_jax import config_files, config_values, paths, preset_files
from mtra_jax.data.own_tasks import task_file
from mtra_jax.errors import InputError, did_you_mean, shown
from mtra_jax.methods import registry
from mtra_jax.tasks import BENCHMARKS, OWN

PRESETS = preset_files.DIRECTORY / "baselines.py"
"""Every method with every preset."""
LATER = ("diagnostics", "gradient_pieces", "merged_kernels")
"""Keys added later: runs without them get the defaults, which keep the old behaviour."""
LATER_OPTIONS = {"ew": ("weights",), "fairgrad": ("max_norm",)}
"""The same for the options of a method."""


def default_config(method: str = "mtra") -> ConfigDict:
    """The default of every key; `sampling` and the options depend on `method`.

    The numbers are those that all configurations of the paper share (MTRA, Table 10); its
    text has no warm-up.
    """
    config = ConfigDict(
        {
            "benchmark": "tweeteval",  # or own, the tasks of data.tasks
            "tasks": (),  # names; empty: all of the benchmark
            "seed": 0,
            "epochs": 20,
            "patience": 3,  # epochs without a better validation
            "selection": "loss",  # of the best epoch; or log_sum, average, TASK/METRIC
            "batch_size": 128,  # of all devices together
            "micro_batches": 1,  # one after the other: less memory, same update
            "sampling": registry.sampling(method),  # or another one
            "sampling_temperature": 2.0,  # of sampling temperature; 1: proportional
            "sampling_cap": 0,  # examples that count for a task's share; 0: all
            "optimiser": "adamax",
            "learning_rate": 5e-5,
            "warm_up": 0.1,  # share of all planned steps
            "schedule": "constant",  # after the warm-up; or linear, cosine
            "layer_decay": 1.0,  # rate of a layer relative to the one above it
            "weight_decay": 0.0,  # decoupled; not of norms and biases
            "clip_norm": 1.0,
            "head_dropout": 0.2,
            "heads": {"start": "zero"},  # biases; base_rate: those of the training set
            "class_weights": "none",  # of the cross-entropy; or balanced
            "label_smoothing": 0.0,  # of the cross-entropy
            "compute_dtype": "auto",  # bfloat16 on accelerators, float32 on CPUs
            "devices": 0,  # 0: all
            "mapping": "pmap",  # or shard_map: jax.jit over a mesh, with the same numbers
            "gradient_pieces": False,  # average each layer's gradient as it is made
            "merged_kernels": False,  # fewer, larger kernels of the encoder, for GPUs
            "max_bad_steps": 10,  # skipped nonfinite steps in a row that end the run
            "checkpoint_every": 0,  # steps; 0: only at the end of each epoch
            "loggers": ("tensorboard",),  # besides metrics.jsonl
            "diagnostics": {
                "every": 0
            },  # steps between diagnostics of gradients; 0: off
            "warm_start": "",  # directory of a run, for encoder, heads and method
            "backbone": {
                "path": "",  # directory, hub name, builtin:tiny; empty: new of these sizes
                "vocab_size": 2000,
                "hidden_size": 128,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "intermediate_size": 512,
                "dropout": 0.1,
            },
            "data": {
                "dir": "",  # root of the benchmarks' files, or "hub"
                "tasks": "",  # TOML file of own tasks
                "fraction": 1.0,  # share of the training examples of each task
                "limit": 0,  # examples of each split of each task; 0: all
                "label_noise": 0.0,  # share of them with a label drawn anew
                "standardize": False,  # targets of regression, by mean and deviation
                "max_length": 256,  # tokens
                "max_shapes": 0,  # limit on shapes of training batches; 0: by cost
                "cache_dir": paths.DEFAULT_CACHE,  # of tokens and programs; empty: none
            },
            "method": {"name": method, **registry.options(method)},
        }
    )
    return config.lock()


def make(method: str, values: Mapping[str, Any]) -> ConfigDict:
    """The defaults of `method`, with `values` (by dotted key) in place of some.

    Raises:
      InputError: an unknown method.
      KeyError: an unknown key.
    """
    config = default_config(method)
    config.update_from_flattened_dict(values)
    return config


def preset(name: str, method: str) -> ConfigDict:
    """The preset `name`, BACKBONE_BENCHMARK, for `method`.

    Raises:
      InputError: an unknown preset or method, or the package lacks its presets.
    """
    if not PRESETS.is_file():
        raise InputError(
            f"{PRESETS}: no such file; expected an installed wheel, or a clone"
        )
    return config_files.execute(str(PRESETS)).preset(name, method)


def load(
    spec: str, overrides: Sequence[tuple[str, str]] = (), *, is_shipped: bool = False
) -> ConfigDict:
    """The configuration of `FILE:NAME` with `overrides` of (dotted key, text).

    `is_shipped`: see `preset_files.find`.

    Raises:
      InputError: no such file or preset, an unknown key, or a value that does not fit.
    """
    path, config = config_files.call(
        spec, "get_config", "configs/mtra.py", is_shipped=is_shipped
    )
    if not isinstance(config, ConfigDict):
        raise InputError(
            f"{path}: get_config returns {shown(config)}; expected a ConfigDict"
        )
    try:
        config = from_dict(config.to_dict())
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return apply(config, overrides)


def apply(config: ConfigDict, overrides: Sequence[tuple[str, str]]) -> ConfigDict:
    """Sets `overrides` of (dotted key, text) in `config`, and returns it checked.

    Raises:
      InputError: an unknown key, or a value that does not fit.
    """
    # The method first, because the other keys depend on it.
    for key, text in overrides:
        if key == "method.name":
            _choose_method(config, text)
    for key, text in overrides:
        if key != "method.name":
            config_values.set_text(config, key, text)
    config.data.dir = paths.expand(config.data.dir)
    config.data.tasks = paths.expand(config.data.tasks)
    config.backbone.path = paths.expand(config.backbone.path)
    if config.benchmark == OWN and config.data.tasks:
        config.tasks = _chosen(task_file.names(config.data.tasks), config)
    config.warm_start = paths.expand(config.warm_start)
    config_values.validate(config)
    return config


def _chosen(names: tuple[str, ...], config: ConfigDict) -> tuple[str, ...]:
    """The tasks of the file that `config` chooses, in the order of the file; or all."""
    for name in config.tasks:
        if name not in names:
            raise InputError(
                f"{config.data.tasks}: no task {name!r}; {did_you_mean(name, names)}"
            )
    return tuple(name for name in names if name in (config.tasks or names))


def _choose_method(config: ConfigDict, name: str) -> None:
    """Sets another method with its defaults.

    Options of the same name do not carry over: the β of two methods differ in meaning.
    """
    config.sampling = registry.sampling(name)
    if name == config.method.name:
        return
    with config.unlocked():
        config.method = ConfigDict({"name": name, **registry.options(name)})
    config.lock()


def from_dict(values: dict[str, Any]) -> ConfigDict:
    """The checked configuration of `values`, the inverse of `to_dict`.

    Raises:
      InputError: a key is missing or unknown, or a value does not fit.
    """
    member = config_values.member
    method = member(member({"": values}, "", ConfigDict), "method", ConfigDict)
    name = member(method, "name", str, "method.")
    like = default_config(name)
    defaults = like.to_dict()
    options = {
        key: defaults["method"][key]
        for key in LATER_OPTIONS.get(name, ())
        if key not in method
    }
    values = {key: defaults[key] for key in LATER} | values
    values["method"] = {**method, **options}
    config = ConfigDict(config_values.conform(values, like)).lock()
    config_values.validate(config)
    return config


def to_dict(config: ConfigDict) -> dict[str, Any]:
    """Plain values, equal to those that `config.json` gives back."""
    values = config.to_dict()
    for key in ("tasks", "loggers"):
        values[key] = list(values[key])
    return values


def task_names(config: ConfigDict) -> tuple[str, ...]:
    """The chosen tasks, in the order of the benchmark."""
    if config.benchmark == OWN:
        return config.tasks  # all of them since the file was read
    benchmark = BENCHMARKS[config.benchmark]
    return benchmark.select(config.tasks or benchmark.task_names).task_names


def separate_tasks(config: ConfigDict) -> tuple[str, ...]:
    """The tasks that the method trains in separate runs; () for one run of all tasks."""
    names = task_names(config)
    is_separate = registry.METHODS[config.method.name].is_separate
    return names if is_separate and len(names) > 1 else ()


def of_task(config: ConfigDict, name: str) -> ConfigDict:
    """The same configuration with `name` as the only task."""
    return from_dict({**to_dict(config), "tasks": [name]})
