"""Text or JSON -> values of the right type and range, or an error that names the fault."""

import math
import os
import sys
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from mtra_jax import config_help, files
from mtra_jax.errors import InputError, did_you_mean, expected_one, shown
from mtra_jax.methods import registry
from mtra_jax.tasks import BENCHMARKS, OWN

CHOICES = {
    "benchmark": (*BENCHMARKS, OWN),
    "sampling": registry.SAMPLINGS,
    "optimiser": (
        "adamax",
        "adam",
        "adamw",
        "nadam",
        "radam",
        "adabelief",
        "adadelta",
        "lion",
        "rmsprop",
        "adagrad",
        "sgd",
    ),
    "schedule": ("constant", "linear", "cosine"),
    "compute_dtype": ("auto", "float32", "bfloat16"),
    "mapping": ("pmap", "shard_map"),
    "heads.start": ("zero", "base_rate"),
    "class_weights": ("none", "balanced"),
}
AVERAGE = "average"
LOSSES = ("loss", "log_sum")
"""The selections that depend on the method's objective, not on the figures alone."""
SELECTIONS = (*LOSSES, AVERAGE)
"""Names of `selection` besides TASK/METRIC."""
LOGGERS = ("tensorboard", "wandb", "trackio", "mlflow")
# The parameters of each task are updated as one vector, which only optimisers that treat
# every number alone allow.
NOT_ELEMENTWISE = {
    "adafactor": "keeps the second moment of a matrix as rows and columns",
    "dog": "sets its rate by the distance of all parameters from their start",
    "fromage": "scales the update of each layer by its norm",
    "lamb": "scales the update of each layer by its norm",
    "lars": "scales the update of each layer by its norm",
    "lbfgs": "searches along a line, with several evaluations a step",
    "muon": "orthogonalises the update of each matrix",
    "novograd": "keeps one second moment for each layer",
    "shampoo": "multiplies the gradient of each matrix by matrices",
    "sm3": "keeps the second moment of a matrix as rows and columns",
    "soap": "multiplies the gradient of each matrix by matrices",
}
KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text without null characters",
    tuple: "a list of names",
    ConfigDict: "an object",
}
LARGEST = 2**31 - 1  # sizes and counts are 32-bit integers on devices
# Smaller numbers than float32's normal ones are 0 on devices, larger ones infinite.
FLOAT32 = (2.0**-126, (2 - 2.0**-23) * 2.0**127)
AT_LEAST = {
    "epochs": 1,
    "patience": 1,
    "batch_size": 1,
    "micro_batches": 1,
    "devices": 0,
    "max_bad_steps": 1,
    "checkpoint_every": 0,
    "diagnostics.every": 0,
    "sampling_cap": 0,
    "data.limit": 0,
    "data.max_length": 3,
    "data.max_shapes": 0,
}


def flat(config: ConfigDict) -> dict[str, Any]:
    """All values by their dotted keys, in order."""
    return files.flatten(config.to_dict())


def conform(
    values: Mapping[str, Any], like: ConfigDict, prefix: str = ""
) -> dict[str, Any]:
    """`values` in the order and the types of `like`.

    Raises:
      InputError: the keys differ from those of `like`, or a value has another type.
    """
    for key in values:
        if key not in like:
            raise InputError(f"unknown key {prefix}{key}; {did_you_mean(key, like)}")
    conforming = {}
    for key, default in like.items():
        value = member(values, key, type(default), prefix)
        if isinstance(default, ConfigDict):
            value = conform(value, default, f"{prefix}{key}.")
        conforming[key] = value
    return conforming


def member(values: Mapping[str, Any], key: str, kind: type, prefix: str = "") -> Any:
    """`values[key]` as `kind`; JSON has lists for tuples, and whole numbers for floats.

    Raises:
      InputError: `values` lacks the key, or its value has another type.
    """
    if key not in values:
        raise InputError(f"no key {prefix}{key}; expected {KINDS[kind]}")
    value = values[key]
    fits = {
        ConfigDict: isinstance(value, Mapping),
        tuple: isinstance(value, list | tuple) and all(map(_is_text, value)),
        str: _is_text(value),
        float: type(value) in (int, float) and abs(value) <= sys.float_info.max,
    }
    if not fits.get(kind, type(value) is kind):
        is_ = f"{prefix}{key} is " if key else ""
        raise InputError(f"{is_}{shown(value)}; expected {KINDS[kind]}")
    return value if kind is ConfigDict else kind(value)


def _is_text(value: Any) -> bool:
    """Whether `value` is a string that can name a file."""
    try:
        return isinstance(value, str) and b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:  # half of a surrogate pair
        return False


def as_text(value: Any) -> str:
    """A value of Python as `set_text` reads it.

    >>> as_text(10), as_text(False), as_text(("irony", "stance"))
    ('10', 'false', 'irony,stance')
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return ",".join(map(as_text, value))
    return str(value)


def set_text(config: ConfigDict, key: str, text: str) -> None:
    """Sets the value at a dotted key from `text`.

    Raises:
      InputError: an unknown key, or text of another type.
    """
    keys = list(flat(config))
    if key not in keys:
        others = _owners(key)
        place = (
            f", an option of {others}, not of {config.method.name}" if others else ""
        )
        if group := [name for name in keys if name.startswith(f"{key}.")]:
            raise InputError(
                f"--config.{key} is {shown(text)}; expected one of its keys: "
                f"{', '.join(group)}"
            )
        raise InputError(
            f"unknown key --config.{key}{place}; {config_help.similar(key, keys)}"
        )
    *parents, last = key.split(".")
    for parent in parents:
        config = config[parent]
    config[last] = _parse(key, text, config[last])


def _owners(key: str) -> str:
    """The methods that have the option `key`, separated by commas."""
    group, _, option = key.partition(".")
    if group != "method":
        return ""
    return ", ".join(m for m in registry.METHODS if option in registry.options(m))


def _parse(key: str, text: str, default: Any) -> Any:
    """The value of `text` in the type of `default`."""
    if isinstance(default, bool):
        if text.lower() in ("true", "1", "yes"):
            return True
        if text.lower() in ("false", "0", "no"):
            return False
        raise InputError(f"--config.{key} is {shown(text)}; expected {KINDS[bool]}")
    if isinstance(default, tuple):
        names = text.strip("()[] ").split(",")
        return tuple(part.strip(" '\"") for part in names if part.strip(" '\""))
    if isinstance(default, str):
        return text
    kind = type(default)
    try:
        # Both would also read "1_0", and digits of other scripts.
        if "_" in text or not text.isascii():
            raise ValueError
        return kind(text)
    except ValueError:
        raise InputError(
            f"--config.{key} is {shown(text)}; expected {KINDS[kind]}"
        ) from None


def validate(config: ConfigDict) -> None:
    """Raises InputError if a value is out of range; it names key, value and range."""
    if config.optimiser in NOT_ELEMENTWISE:
        raise InputError(
            f"optimiser is {config.optimiser!r}, which {NOT_ELEMENTWISE[config.optimiser]}; "
            f"expected an elementwise one: {', '.join(CHOICES['optimiser'])}"
        )
    values = flat(config)
    for key, names in CHOICES.items():
        if values[key] not in names:
            hint = did_you_mean(values[key], names)
            raise InputError(f"{key} is {shown(values[key])}; {hint}")
    _check_tasks(config)
    for name in config.loggers:
        if name not in LOGGERS:
            raise InputError(
                f"loggers: unknown logger {shown(name)}; {did_you_mean(name, LOGGERS)}"
            )
    registry.options(config.method.name)
    _check_selection(config)
    for key, value in values.items():
        if type(value) is int and key != "seed" and value > LARGEST:
            raise InputError(f"{key} is {shown(value)}; expected at most {LARGEST}")
    sizes = {f"backbone.{k}": 1 for k, v in config.backbone.items() if type(v) is int}
    for key, low in {**AT_LEAST, **sizes}.items():
        _check_range(values, key, low, math.inf)
    # JAX's keys use 32 bits of a seed and would drop the rest.
    _check_range(values, "seed", 0, 2**32 - 1)
    for key in ("learning_rate", "clip_norm"):
        _check_range(values, key, 0, math.inf, open_low=True)
    _check_range(values, "warm_up", 0, 1)
    _check_range(values, "weight_decay", 0, math.inf)
    _check_range(values, "layer_decay", 0, 1, open_low=True)
    _check_range(values, "sampling_temperature", 1, math.inf)
    _check_range(values, "head_dropout", 0, 1, open_high=True)
    _check_range(values, "label_smoothing", 0, 1, open_high=True)
    _check_range(values, "backbone.dropout", 0, 1, open_high=True)
    _check_range(values, "data.fraction", 0, 1, open_low=True)
    _check_range(values, "data.label_noise", 0, 1)
    _check_float32(values)


def _check_float32(values: Mapping[str, Any]) -> None:
    low, high = FLOAT32
    for key, value in values.items():
        if type(value) is float and value and not low <= abs(value) <= high:
            sizes = f"a size of {low:.7g} to {high:.7g}, as float32 has"
            raise InputError(f"{key} is {value}; expected {sizes}")


def _check_tasks(config: ConfigDict) -> None:
    if config.benchmark != OWN:
        BENCHMARKS[config.benchmark].select(config.tasks)
    elif not config.tasks:
        raise InputError(
            "data.tasks is empty; own tasks need --config.data.tasks=FILE, a TOML file"
        )


def _check_selection(config: ConfigDict) -> None:
    """Checks `selection`, except for the metric, which needs the tasks themselves."""
    chosen = config.selection
    if chosen in SELECTIONS:
        return
    names = config.tasks or BENCHMARKS[config.benchmark].task_names
    if not any(chosen.startswith(f"{name}/") for name in names):
        task, slash, _ = chosen.partition("/")
        hint = (
            expected_one("a task of the run", task, names)
            if slash
            else did_you_mean(chosen, (*SELECTIONS, "TASK/METRIC"))
        )
        raise InputError(f"selection is {shown(chosen)}; {hint}")
    method = config.method.name
    if registry.METHODS[method].is_separate and len(names) > 1:
        raise InputError(
            f"selection is {shown(chosen)}, and method {method} trains each task in a "
            "run without the others; expected loss, log_sum or average"
        )


def _check_range(
    values: Mapping[str, Any],
    key: str,
    low: float,
    high: float,
    *,
    open_low: bool = False,
    open_high: bool = False,
) -> None:
    value = values[key]
    open_high = open_high or high == math.inf
    is_above = value > low if open_low else value >= low
    is_below = value < high if open_high else value <= high
    if not (is_above and is_below):  # NaN is neither
        low_text = f"more than {low}" if open_low else f"at least {low}"
        if high == math.inf:
            high_text = ", finite" if value == high else ""
        else:
            high_text = f" and {'less than' if open_high else 'at most'} {high}"
        raise InputError(f"{key} is {value}; expected {low_text}{high_text}")
