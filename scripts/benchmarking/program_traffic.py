"""The text of a compiled GPU program -> its kernels, and the memory that each moves."""

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

import kernel_events
import program_size
import step_trace

# Not s8: these are workspaces of libraries, which may stay untouched.
BYTES = {
    "pred": 1,
    "bf16": 2,
    "f16": 2,
    "s16": 2,
    "u16": 2,
    "f32": 4,
    "s32": 4,
    "u32": 4,
    "f64": 8,
    "s64": 8,
    "u64": 8,
}
ARRAY = re.compile(rf"\b({'|'.join(BYTES)})\[([\d,]*)\]")
INSTRUCTION = re.compile(
    r"^\s+(?P<root>ROOT )?%?(?P<name>[\w.\-]+) = (?P<type>\([^)]*\)|\S+) "
    r"(?P<opcode>[a-z][a-z0-9\-]*)\((?P<operands>[^)]*)\)(?P<rest>.*)$"
)
CALLED = re.compile(r"calls=%?([\w.\-]+)")
TARGET = re.compile(r'custom_call_target="([^"]*)"')
OPERATION = re.compile(r'op_name="([^"]*)"')
# Reads only a part of its first operand.
SLICES = frozenset({"slice", "dynamic-slice", "gather"})


class Kernel(NamedTuple):
    """An instruction of the entry computation that runs as a kernel."""

    name: str
    kind: str
    """One of `kernel_events.KINDS`."""
    part: str
    """One of `step_trace.PARTS`."""
    read: int
    """Bytes of the operands; of a sliced operand, those of the slices."""
    written: int
    """Bytes of the results; of an update in place, those of the update."""


class Traffic(NamedTuple):
    """Sums over a group of kernels."""

    name: str
    kernels: int
    bytes: int


class _Line(NamedTuple):
    name: str
    is_root: bool
    bytes: int
    opcode: str
    operands: list[str]
    rest: str


def kernels(text: str) -> list[Kernel]:
    """The kernels of `text`, an optimised module as `Compiled.as_text()` returns it.

    The bytes are those of arrays in global memory, each once for each kernel that has it
    as an operand or result. Caches may hold some of them. A scatter counts its whole array,
    though it may change a part of it in place: 0.6 GB in MTRA's step of RoBERTa-base.

    Raises:
      ValueError: the entry computation runs a loop, whose kernels would not be counted.
    """
    computations, entry = _computations(text)
    lines = computations[entry]
    if any(line.opcode == "while" for line in lines):
        raise ValueError("The program must have no loop; found a `while`.")
    sizes = {line.name: line.bytes for line in lines}
    return [
        _kernel(line, sizes, computations)
        for line in lines
        if line.opcode not in program_size.FREE
    ]


def _kernel(
    line: _Line, sizes: dict[str, int], computations: dict[str, list[_Line]]
) -> Kernel:
    operands = [sizes.get(name, 0) for name in line.operands]
    read, written, operation, kind = sum(operands), line.bytes, line.rest, line.name
    if target := TARGET.search(line.rest):
        kind = target[1]
    if called := CALLED.search(line.rest):
        inner = computations[called[1]]
        read, written = _read(inner), _written(inner)
        targets = TARGET.search(" ".join(i.rest for i in inner))
        kind = targets[1] if targets else line.name
        if not OPERATION.search(operation):
            operation = " ".join(i.rest for i in reversed(inner))
    name = OPERATION.search(operation)
    part = step_trace.part_of(name[1] if name else "")
    return Kernel(line.name, kernel_events.kind(kind), part, read, written)


def _read(inner: list[_Line]) -> int:
    """Bytes that a fusion reads of its operands."""
    uses: dict[str, list[_Line]] = defaultdict(list)
    for line in inner:
        for name in set(line.operands):
            uses[name].append(line)
    total = 0
    for line in inner:
        if line.opcode == "parameter":
            total += _read_of(line, uses[line.name])
    return total


def _read_of(parameter: _Line, users: list[_Line]) -> int:
    updates = [u for u in users if u.opcode == "dynamic-update-slice"]
    others = [u for u in users if u not in updates]
    if all(u.operands[0] == parameter.name for u in updates):
        if all(u.opcode in SLICES for u in others):
            return sum(u.bytes for u in others)
        return parameter.bytes if others else 0
    return parameter.bytes


def _written(inner: list[_Line]) -> int:
    """Bytes that a fusion writes."""
    by_name = {line.name: line for line in inner}
    (root,) = (line for line in inner if line.is_root)

    def of(line: _Line) -> int:
        if line.opcode == "tuple":
            return sum(of(by_name[name]) for name in line.operands)
        if line.opcode == "bitcast":
            return of(by_name[line.operands[0]])
        if line.opcode == "dynamic-update-slice":
            return by_name[line.operands[1]].bytes
        return line.bytes

    return of(root)


def _computations(text: str) -> tuple[dict[str, list[_Line]], str]:
    computations: dict[str, list[_Line]] = {}
    current: list[_Line] = []
    entry = ""
    for row in text.split("\n"):
        if header := program_size.COMPUTATION.match(row):
            current = computations.setdefault(header["name"], [])
            entry = header["name"] if header["entry"] else entry
        elif match := INSTRUCTION.match(row):
            current.append(
                _Line(
                    match["name"],
                    bool(match["root"]),
                    num_bytes(match["type"]),
                    match["opcode"],
                    re.findall(r"%([\w.\-]+)", match["operands"]),
                    match["rest"],
                )
            )
    return computations, entry


def num_bytes(kind: str) -> int:
    """Bytes of the arrays in a type.

    >>> num_bytes("(f32[2,3]{1,0}, bf16[4], pred[])")
    33
    """
    total = 0
    for dtype, sizes in ARRAY.findall(kind):
        size = BYTES[dtype]
        for length in filter(None, sizes.split(",")):
            size *= int(length)
        total += size
    return total


def grouped(kernels: Iterable[Kernel], field: str) -> list[Traffic]:
    """Sums by "kind" or "part", the most bytes first."""
    counts: dict[str, int] = defaultdict(int)
    sums: dict[str, int] = defaultdict(int)
    for kernel in kernels:
        counts[getattr(kernel, field)] += 1
        sums[getattr(kernel, field)] += kernel.read + kernel.written
    return sorted(
        (Traffic(name, counts[name], sums[name]) for name in counts),
        key=lambda group: -group.bytes,
    )
