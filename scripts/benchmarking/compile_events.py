"""Events of JAX's compiler -> seconds of each part, and programs compiled or read."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import jax

TRACE = "/jax/core/compile/jaxpr_trace_duration"
LOWER = "/jax/core/compile/jaxpr_to_mlir_module_duration"
COMPILE = "/jax/core/compile/backend_compile_duration"
READ = "/jax/compilation_cache/cache_retrieval_time_sec"
SAVED = "/jax/compilation_cache/compile_time_saved_sec"


class Events:
    """Seconds of tracing, lowering and compiling, as JAX reports them.

    Traces and compilations of parts lie within or before the longest one, so only the
    longest of each kind counts.
    """

    def __init__(self) -> None:
        self.trace = self.lower = self.compile = self.read = self.saved = 0.0
        self.num_compiled = self.num_read = 0

    def note(self, event: str, duration: float) -> None:
        if event == TRACE:
            self.trace = max(self.trace, duration)
        elif event == LOWER:
            self.lower = max(self.lower, duration)
        elif event == COMPILE:
            self.compile = max(self.compile, duration)
            self.num_compiled += 1
        elif event == READ:
            self.read = max(self.read, duration)
            self.num_read += 1
        elif event == SAVED:
            self.saved = max(self.saved, duration)

    def values(self) -> dict[str, Any]:
        """The seconds by name: either of compiling or of reading the program; None for the other."""
        is_read = self.num_read > 0
        return {
            "trace_seconds": self.trace,
            "lower_seconds": self.lower,
            "compile_seconds": None if is_read else self.compile,
            "read_seconds": self.read if is_read else None,
            "stored_compile_seconds": self.read + self.saved if is_read else None,
            "num_compiled": self.num_compiled,
            "num_read": self.num_read,
        }


@contextlib.contextmanager
def collected(
    on_lowered: Callable[[Events], None] | None = None,
) -> Iterator[Events]:
    """Collects JAX's reports; `on_lowered` is called after the longest lowering."""
    events = Events()

    def note(event: str, duration: float, **_: Any) -> None:
        before = events.lower
        events.note(event, duration)
        if on_lowered is not None and event == LOWER and events.lower > before:
            on_lowered(events)

    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        yield events
    finally:
        jax.monitoring.unregister_event_duration_listener(note)
