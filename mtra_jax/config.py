"""Every default, the presets' values, and the checks of values, which users set as text."""

import math
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from mtra_jax import config_files, paths
from mtra_jax.errors import InputError, did_you_mean, shown
from mtra_jax.methods import registry
from mtra_jax.tasks import BENCHMARKS

BACKBONES = {
    "roberta": "FacebookAI/roberta-base",
    "bert": "google-bert/bert-base-uncased",
    "minilm": "sentence-transformers/all-MiniLM-L6-v2",
    "tiny": "",
}
PRESETS = tuple(f"{b}_{name}" for b in BACKBONES for name in BENCHMARKS)
CHOICES = {
    "benchmark": tuple(BENCHMARKS),
    "sampling": ("per_task", "joint"),
    "compute_dtype": ("auto", "float32", "bfloat16"),
}
KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text that files can be named by",
    tuple: "a list of names",
    ConfigDict: "an object",
}
LARGEST = 2**31 - 1  # sizes and counts are 32-bit integers on devices


def default_config(method: str = "mtra") -> ConfigDict:
    """The values of Table 10 that all four configurations of the paper share."""
    config = ConfigDict(
        {
            "benchmark": "tweeteval",
            "tasks": (),  # names; all of the benchmark where empty
            "seed": 0,
            "epochs": 20,
            "patience": 3,  # epochs without a better validation loss
            "batch_size": 128,  # of all devices together
            "micro_batches": 1,  # in turn on each device: less memory, the same update
            "sampling": registry.sampling(method),  # or the other one
            "learning_rate": 5e-5,
            "warm_up": 0.1,  # share of all planned steps
            "clip_norm": 1.0,
            "head_dropout": 0.2,
            "compute_dtype": "auto",  # bfloat16 on accelerators, float32 on CPUs
            "devices": 0,  # all where 0
            "max_bad_steps": 10,  # in a row, not finite and skipped; then the run ends
            "checkpoint_every": 0,  # steps; at the end of each epoch only where 0
            "backbone": {
                "path": "",  # directory or hub name; a new encoder of these sizes if empty
                "vocab_size": 2000,
                "hidden_size": 128,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "intermediate_size": 512,
                "dropout": 0.1,
            },
            "data": {
                "dir": "",  # root of the benchmarks' files, or "hub"
                "fraction": 1.0,  # share of the training examples of each task
                "limit": 0,  # most examples of each split of each task; all where 0
                "label_noise": 0.0,  # share of them with a label drawn anew
                "max_length": 256,  # tokens
                "max_shapes": 0,  # most shapes of training batches; 0: by their cost
                "cache_dir": paths.DEFAULT_CACHE,  # tokens and programs; none if empty
            },
            "method": {"name": method, **registry.options(method)},
        }
    )
    return config.lock()


def preset(name: str, method: str) -> ConfigDict:
    """The values of preset `name`, BACKBONE_BENCHMARK, for `method`.

    Raises:
      InputError: an unknown name.

    Source: MTRA, Table 10. MiniLM is like BERT; the synthetic benchmark like TweetEval.
    """
    if name not in PRESETS:
        raise InputError(f"unknown preset {name!r}; {did_you_mean(name, PRESETS)}")
    backbone, benchmark = name.split("_")
    config = default_config(method)
    config.benchmark = benchmark
    config.backbone.path = BACKBONES[backbone]
    config.head_dropout = 0.0 if benchmark == "affecteval" else 0.2
    if method == "mtra":
        config.method.epsilon = 5.0 if backbone == "roberta" else 1.0
        if benchmark == "affecteval" and backbone in ("bert", "minilm"):
            config.method.beta = 2.0
    if method == "infomtl" and backbone in ("bert", "minilm"):
        # InfoMTL, Table 8.
        config.method.update({"alpha": 0.01, "beta": 1.0, "temperature": 0.1})
        config.head_dropout = 0.0
    if backbone == "tiny":
        _set_tiny(config)
    return config


def _set_tiny(config: ConfigDict) -> None:
    """A new encoder, not a pretrained one: larger steps, smaller perturbations.

    Chosen by the synthetic validation loss within two minutes on two cores.
    """
    config.learning_rate = 2e-3
    if config.benchmark == "synthetic":
        config.epochs = 9
    config.head_dropout = 0.0
    config.backbone.dropout = 0.0
    config.data.max_length = 64
    config.data.max_shapes = 1
    if config.method.name == "mtra":
        config.method.epsilon = 0.01  # the rows of a new embedding matrix are short
        # Of the paper's 0.1, 1, 2: at 1 the first tasks' bounds crowd out the others.
        config.method.beta = 0.1


def load(spec: str, overrides: Sequence[tuple[str, str]] = ()) -> ConfigDict:
    """The configuration of `FILE:NAME` with `overrides` of (dotted key, text).

    Raises InputError: no such file or preset, an unknown key, or an unfit value.
    """
    path, config = config_files.call(spec, "get_config", "configs/mtra.py")
    if not isinstance(config, ConfigDict):
        raise InputError(
            f"{path}: get_config gives {shown(config)}; expected a ConfigDict"
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
    for key, text in overrides:
        if key == "method.name":
            _choose_method(config, text)
    for key, text in overrides:
        if key != "method.name":
            _set(config, key, text)
    config.data.dir = paths.expand(config.data.dir)
    config.backbone.path = paths.expand(config.backbone.path)
    validate(config)
    return config


def from_dict(values: dict[str, Any]) -> ConfigDict:
    """A configuration from what `to_dict` gave, checked.

    Raises:
      InputError: a key is missing or unknown, or a value does not fit.
    """
    method = _member(_member({"": values}, "", ConfigDict), "method", ConfigDict)
    like = default_config(_member(method, "name", str, "method."))
    config = ConfigDict(_conform(values, like)).lock()
    validate(config)
    return config


def _conform(
    values: Mapping[str, Any], like: ConfigDict, prefix: str = ""
) -> dict[str, Any]:
    """`values` in the order and the types of `like`, which has the same keys.

    Raises:
      InputError: it has not, or a value is of another type.
    """
    for key in values:
        if key not in like:
            raise InputError(f"unknown key {prefix}{key}; {did_you_mean(key, like)}")
    found = {}
    for key, default in like.items():
        value = _member(values, key, type(default), prefix)
        if isinstance(default, ConfigDict):
            value = _conform(value, default, f"{prefix}{key}.")
        found[key] = value
    return found


def _member(values: Mapping[str, Any], key: str, kind: type, prefix: str = "") -> Any:
    """`values[key]`, of `kind` as far as JSON tells kinds apart."""
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
    """Whether `value` is a string that a file can be named by."""
    try:
        return isinstance(value, str) and b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:  # half of a surrogate pair
        return False


def to_dict(config: ConfigDict) -> dict[str, Any]:
    """Plain values, for `config.json`."""
    values = config.to_dict()
    values["tasks"] = list(values["tasks"])
    return values


def _choose_method(config: ConfigDict, name: str) -> None:
    """Another method takes its own defaults; options of the same name keep their value."""
    new = {"name": name, **registry.options(name)}
    config.sampling = registry.sampling(name)
    kept = {k: v for k, v in config.method.items() if k in new and k != "name"}
    with config.unlocked():
        config.method = ConfigDict({**new, **kept})
    config.lock()


def keys(config: ConfigDict, prefix: str = "") -> list[str]:
    """The dotted keys of all values."""
    found = []
    for key, value in config.items():
        if isinstance(value, ConfigDict):
            found += keys(value, f"{prefix}{key}.")
        else:
            found.append(prefix + key)
    return found


def _set(config: ConfigDict, key: str, text: str) -> None:
    known = keys(config)
    if key not in known:
        raise InputError(f"unknown key --config.{key}; {did_you_mean(key, known)}")
    *parents, last = key.split(".")
    for parent in parents:
        config = config[parent]
    config[last] = _parse(key, text, config[last])


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
    """Raises InputError with key, value and what was expected."""
    for key, known in CHOICES.items():
        if config[key] not in known:
            hint = did_you_mean(config[key], known)
            raise InputError(f"{key} is {shown(config[key])}; {hint}")
    BENCHMARKS[config.benchmark].select(config.tasks)
    registry.options(config.method.name)
    for key in keys(config):
        value = _get(config, key)
        if type(value) is int and key != "seed" and value > LARGEST:
            raise InputError(f"{key} is {shown(value)}; expected at most {LARGEST}")
    at_least = {
        "epochs": 1,
        "patience": 1,
        "batch_size": 1,
        "micro_batches": 1,
        "devices": 0,
        "max_bad_steps": 1,
        "checkpoint_every": 0,
        **{f"backbone.{k}": 1 for k, v in config.backbone.items() if type(v) is int},
        "data.limit": 0,
        "data.max_length": 3,
        "data.max_shapes": 0,
    }
    for key, low in at_least.items():
        _check_range(config, key, low, math.inf)
    # The keys of JAX take 32 bits and would drop the rest.
    _check_range(config, "seed", 0, 2**32 - 1)
    for key in ("learning_rate", "clip_norm"):
        _check_range(config, key, 0, math.inf, open_low=True)
    _check_range(config, "warm_up", 0, 1)
    _check_range(config, "head_dropout", 0, 1, open_high=True)
    _check_range(config, "backbone.dropout", 0, 1, open_high=True)
    _check_range(config, "data.fraction", 0, 1, open_low=True)
    _check_range(config, "data.label_noise", 0, 1)


def _get(config: ConfigDict, key: str) -> Any:
    value = config
    for part in key.split("."):
        value = value[part]
    return value


def _check_range(
    config: ConfigDict,
    key: str,
    low: float,
    high: float,
    *,
    open_low: bool = False,
    open_high: bool = False,
) -> None:
    value = _get(config, key)
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
