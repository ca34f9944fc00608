"""A few steps -> a profiler trace on disk, and the time of each part of the model."""

import gzip
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import jax

# Parts of the model by an instruction's name in the traced program: the first match.
PARTS = (
    ("attention: products", r"r(qh|hq)d,r(kh|hk)d|rhqk,r(qh|hq|kh|hk)d"),
    (
        "attention: softmax, dropout, layout",
        r"attention/(?!\w+/dot_general)|attention\._project/(?!dot_general|transpose$)",
    ),
    ("dense layers: products", r"/dot_general|/transpose$"),
    ("GELU", r"layer/(erf|mul|exp|neg|add_any|jit\(gelu\)|div|sub|add$)"),
    ("norms", r"_norm/|embeddings/norm"),
    ("dropout and residual sums", r"dropout|layer/"),
    ("embeddings", r"embeddings"),
    ("perturbation, clipping, Adamax, the rest", r""),
)
INSTRUCTION = re.compile(
    r'^\s*(?:ROOT )?%(?P<name>\S+) = .*?metadata=\{[^}]*op_name="(?P<op>[^"]*)"',
    re.MULTILINE,
)
# An instruction that runs others, which are counted separately.
OUTER = re.compile(r"^(while|call|conditional|fusion_call)[.\d]*$")


def record(directory: Path, steps: Iterable[Callable[[], Any]]) -> Path:
    """Runs `steps` under the profiler; returns the file for https://ui.perfetto.dev."""
    with jax.profiler.trace(str(directory), create_perfetto_trace=True):
        for step in steps:
            step()
    return max(
        directory.rglob("perfetto_trace.json.gz"), key=lambda p: p.stat().st_mtime
    )


def seconds_by_instruction(trace: Path) -> Counter[str]:
    """The time of every instruction of the trace, in seconds."""
    with gzip.open(trace, "rt", encoding="utf-8") as file:
        content = json.load(file)
    events = content["traceEvents"] if isinstance(content, dict) else content
    seconds: Counter[str] = Counter()
    for event in events:
        if event.get("ph") == "X":
            arguments = event.get("args", {})
            name = arguments.get("hlo_op", event["name"])
            seconds[name] += event.get("dur", 0) / 1e6
    return seconds


def by_part(seconds: Mapping[str, float], program: str) -> dict[str, float]:
    """The seconds of each of `PARTS`, summed over the instructions of `program`."""
    shares = dict.fromkeys((name for name, _ in PARTS), 0.0)
    for match in INSTRUCTION.finditer(program):
        if match["name"] in seconds and not OUTER.match(match["name"]):
            shares[part_of(match["op"])] += seconds[match["name"]]
    return shares


def part_of(operation: str) -> str:
    """The part that an operation's name belongs to.

    >>> part_of("jit(_fun)/jvp(Encoder)/layer/intermediate/dot_general")
    'dense layers: products'
    >>> part_of("jit(_fun)/mul")
    'perturbation, clipping, Adamax, the rest'
    """
    return next(name for name, pattern in PARTS if re.search(pattern, operation))


def picture(parts: Mapping[str, float], width: int = 40) -> str:
    """A bar a part, the longest `width` characters, with its share.

    >>> print(picture({"a": 3.0, "bc": 1.0}, width=6))
    a   ######  75.0 %
    bc  ##      25.0 %
    """
    total, longest = sum(parts.values()) or 1.0, max(parts.values()) or 1.0
    name_width = max(len(name) for name in parts)
    return "\n".join(
        f"{name:{name_width}}  {'#' * round(width * seconds / longest):{width}}  "
        f"{100 * seconds / total:4.1f} %"
        for name, seconds in parts.items()
    )
