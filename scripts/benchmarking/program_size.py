"""The text of a compiled program -> counts of its instructions and kernels."""

import re
from collections import Counter
from typing import NamedTuple

COMPUTATION = re.compile(r"^(?P<entry>ENTRY )?%?(?P<name>[\w.\-]+) \(.*\{\s*$")
INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?(?P<name>[\w.\-]+) = ")
OPCODE = re.compile(r"(?:\)|\]|\}|\s)\s(?P<opcode>[a-z][a-z0-9\-]*)\(")
CALLED = re.compile(
    r"\b(?:calls|to_apply|body|condition|branch_computations|true_computation|"
    r"false_computation|called_computations)=(?P<names>\{[^}]*\}|%?[\w.\-]+)"
)
TRIPS = re.compile(r'"?known_trip_count"?:\{"n":"(\d+)"\}')
OUTER = frozenset({"call", "while", "conditional"})
"""Opcodes whose computations run instruction by instruction."""
FREE = frozenset(
    {
        "parameter",
        "constant",
        "tuple",
        "get-tuple-element",
        "bitcast",
        "after-all",
        "partition-id",
        "replica-id",
        "opt-barrier",
        "copy-done",
        "all-reduce-done",
        "async-done",
        *OUTER,
    }
)
"""Opcodes that start no kernel."""


class Size(NamedTuple):
    """Counts of a program."""

    instructions: int
    """Instructions of all computations, also those within fusions."""
    fusions: int
    kernels: int
    """Instructions that run as kernels, counted once."""
    started: int
    """Kernels started in one run: those of loops times the number of rounds, if given."""
    kinds: dict[str, int]
    """`kernels` by opcode."""


class _Line(NamedTuple):
    opcode: str
    called: list[str]
    trips: int


def size(text: str) -> Size:
    """Counts of `text`, an optimised module as `Compiled.as_text()` returns it."""
    computations, entry = _computations(text)
    outer: Counter[str] = Counter()
    _visit(computations, entry, 1, outer)
    kinds: Counter[str] = Counter()
    started = 0
    for name, times in outer.items():
        kernels = [line for line in computations[name] if line.opcode not in FREE]
        kinds.update(line.opcode for line in kernels)
        started += times * len(kernels)
    return Size(
        sum(map(len, computations.values())),
        sum(line.opcode == "fusion" for c in computations.values() for line in c),
        sum(kinds.values()),
        started,
        dict(kinds.most_common()),
    )


def _computations(text: str) -> tuple[dict[str, list[_Line]], str]:
    computations: dict[str, list[_Line]] = {}
    current: list[_Line] = []
    entry = ""
    for line in text.split("\n"):
        if header := COMPUTATION.match(line):
            current = computations.setdefault(header["name"], [])
            entry = header["name"] if header["entry"] else entry
        elif INSTRUCTION.match(line):
            current.append(_parsed(line))
    return computations, entry


def _parsed(line: str) -> _Line:
    opcode = OPCODE.search(line.partition(" = ")[2])
    called = [
        name.strip(" %")
        for match in CALLED.finditer(line)
        for name in match["names"].strip("{}").split(",")
    ]
    trips = TRIPS.search(line)
    return _Line(
        opcode["opcode"] if opcode else "", called, int(trips[1]) if trips else 1
    )


def _visit(
    computations: dict[str, list[_Line]], name: str, times: int, outer: Counter[str]
) -> None:
    """Adds to `outer` the number of times that each computation runs."""
    outer[name] += times
    for line in computations.get(name, []):
        if line.opcode in OUTER:
            for called in line.called:
                _visit(computations, called, times * line.trips, outer)
