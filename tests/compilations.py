"""Counts the programs that XLA compiles."""

import contextlib

import jax

EVENT = "/jax/core/compile/backend_compile_duration"


@contextlib.contextmanager
def counted():
    """Yields a list that gets the seconds of each compilation in the block."""
    seconds = []

    def listen(event, duration, **_):
        if event == EVENT:
            seconds.append(duration)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield seconds
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
