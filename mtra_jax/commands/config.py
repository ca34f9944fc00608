"""Lists the keys of a configuration, or explains one of them.

mtra-jax config                 all keys with their defaults and meanings
mtra-jax config KEY             one key: default, type, range and meaning
mtra-jax config method          the methods
mtra-jax config method.NAME     the options of a method
"""

import inspect
import math
import shutil
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from mtra_jax import cli, config_help, preset_files
from mtra_jax.errors import InputError

METHOD = "method"
PREFIX = f"{METHOD}."
NAME = f"{PREFIX}name"
PLACES = {
    "backbone.path": "a path, a hub name, or builtin:tiny; empty for a new encoder",
    "data.cache_dir": "a path; empty for none",
    "data.dir": "a path, or hub",
    "data.tasks": "a path",
    "warm_start": "a path; empty for none",
}
"""The expected values of keys that take any text."""
OWN_TASKS = "own tasks (--tasks)"


def main(arguments: Sequence[str]) -> None:
    """Prints the table of all keys, or what there is to say about one."""
    parser = cli.Parser(description=__doc__)
    parser.add_argument("key", nargs="?", metavar="KEY")
    key = cli.parse(parser, [text.removeprefix(cli.PREFIX) for text in arguments]).key
    print(overview() if key is None else explained(key))


def overview() -> str:
    """Every key with its default and its meaning."""
    values = defaults()
    rows = [(key, shown(values[key]), text) for key, text in config_help.KEYS.items()]
    own = ", ".join(f"{key}={shown(value)}" for key, value in of_own_tasks().items())
    return f"{table([('key', 'default', 'meaning'), *rows])}\n{OWN_TASKS}: {own}"


def explained(key: str) -> str:
    """The description of `key` for users.

    Raises:
      InputError: there is no such key, method or option.
    """
    from mtra_jax.methods import registry

    values = defaults()
    if key in values and key in config_help.KEYS:
        return explained_key(key, values[key])
    if key == METHOD:
        return table([("method", "what it does"), *described_methods()])
    name = key.removeprefix(PREFIX)
    if key != name and name in registry.METHODS:
        return explained_method(name)
    owners = [m for m in registry.METHODS if name in registry.options(m)]
    if key != name and owners:
        # The default method first.
        owners.sort(key=lambda owner: owner != values[NAME])
        return explained_option(name, owners)
    options = {option for m in registry.METHODS for option in registry.options(m)}
    of_methods = [f"{PREFIX}{x}" for x in (*registry.METHODS, *sorted(options))]
    names = [*config_help.KEYS, METHOD, *of_methods]
    hint = config_help.similar(key, names)
    if hint.startswith("known: "):
        hint = "`mtra-jax config` lists them"
    raise InputError(f"unknown key {key}; {hint}")


def defaults() -> dict[str, Any]:
    """The default of every key by its dotted name."""
    from mtra_jax import config, config_values

    return config_values.flat(config.default_config())


def of_own_tasks() -> dict[str, Any]:
    """The values that `--tasks` sets to others than the defaults, by dotted key."""
    from mtra_jax import config_files

    values = defaults()
    own = config_files.execute(str(preset_files.DIRECTORY / "own.py")).values("")
    changed = {key: own[key] for key in own if own[key] != values.get(key)}
    order = [*config_help.KEYS, *changed]
    return {key: changed[key] for key in order if key in changed}


def explained_key(key: str, default: Any) -> str:
    """Default, type, range and meaning of a key that all methods have."""
    rows = [("default", shown(default))]
    if (own := of_own_tasks()).get(key):
        rows.append((OWN_TASKS, shown(own[key])))
    rows.append(("expected", expected(key, default)))
    rows.append(("meaning", config_help.KEYS[key]))
    if key == NAME:
        rows.append(("see", "mtra-jax config method"))
    return f"{key}\n{table(rows, indent=2)}"


def expected(key: str, default: Any) -> str:
    """The type of a value and its range or choices, as the checks report them."""
    from mtra_jax import config, config_values

    if key in PLACES:
        return PLACES[key]
    kind = config_values.KINDS[type(default)]
    values = config.default_config()
    parent, _, last = key.rpartition(".")
    group = values[parent] if parent else values
    try:
        if type(default) not in WRONG:
            return kind
        group[last] = WRONG[type(default)]
        config_values.validate(values)
    except InputError as error:
        return with_rule(kind, f"{key} is ", str(error))
    return kind


WRONG: dict[type, Any] = {int: -1, float: math.nan, str: "?"}
"""A value of each type that no range and no list of choices holds."""


def with_rule(kind: str, start: str, message: str) -> str:
    """Adds to `kind` what a refusal of a wrong value, in `message`, expects."""
    if not message.startswith(start):
        return kind
    rule = message.rpartition("; ")[2]
    choices = rule.removeprefix("known: ")
    if choices != rule:
        return f"one of {choices}"
    rule = rule.removeprefix("expected ")
    return rule if rule.startswith(("a ", "an ")) else f"{kind}, {rule}"


def described_methods() -> list[tuple[str, str]]:
    """The name of every method, and the first line of the text about it."""
    from mtra_jax.methods import registry

    return [(name, e.doc.split("\n")[0]) for name, e in registry.METHODS.items()]


def explained_method(name: str) -> str:
    """The options of a method with their defaults, and the text of its factory."""
    from mtra_jax.methods import registry

    rows = [
        (f"{PREFIX}{option}", shown(default), expected_option(name, option, default))
        for option, default in registry.options(name).items()
    ]
    doc = inspect.getdoc(registry.METHODS[name].make) or ""
    first, doc = dict(described_methods())[name], doc.partition("\n\nRaises:")[0]
    parts = [first, doc.removeprefix(first).lstrip()]
    options = table([("option", "default", "expected"), *rows], indent=2)
    parts.append(options if rows else "It has no options.")
    parts.append(f"Default of `sampling`: {registry.sampling(name)}.")
    return "\n\n".join([name, *parts])


def expected_option(method: str, option: str, default: Any) -> str:
    """As `expected`, for an option of a method."""
    from mtra_jax import config_values
    from mtra_jax.methods import registry

    kind = config_values.KINDS[type(default)]
    try:
        if type(default) in WRONG:
            registry.example(method, **{option: WRONG[type(default)]})
    except InputError as error:
        return with_rule(kind, f"{PREFIX}{option} is ", str(error))
    return kind


def explained_option(option: str, owners: Iterable[str]) -> str:
    """An option in every method that has it, and the text about the first of them."""
    from mtra_jax.methods import registry

    rows = []
    for owner in owners:
        default = registry.options(owner)[option]
        rows.append((owner, shown(default), expected_option(owner, option, default)))
    lines = table([("method", "default", "expected"), *rows], indent=2)
    key = f"{PREFIX}{option}"
    own = of_own_tasks().get(key)
    note = "" if own is None else f"{defaults()[NAME]}, {OWN_TASKS}: {shown(own)}\n"
    return f"{key}\n{lines}\n{note}\n{explained_method(rows[0][0])}"


def shown(value: Any) -> str:
    """A value as a user would write it after `--config.KEY=`."""
    if isinstance(value, tuple):
        value = ",".join(value)
    if isinstance(value, bool):
        return str(value).lower()
    return "(empty)" if value == "" else str(value)


def table(rows: Sequence[tuple[str, ...]], indent: int = 0) -> str:
    """Aligned columns; the last one is wrapped at the width of the terminal."""
    widths = [
        max(map(len, column)) + 2 for column in list(zip(*rows, strict=True))[:-1]
    ]
    start = indent + sum(widths)
    width = max(shutil.get_terminal_size((100, 24)).columns, start + 30)
    lines = []
    for *cells, last in rows:
        first = "".join(f"{c:{n}}" for c, n in zip(cells, widths, strict=True))
        lines += textwrap.wrap(
            last or "-",
            width,
            initial_indent=" " * indent + first,
            subsequent_indent=" " * start,
            break_on_hyphens=False,
        )
    return "\n".join(lines)
