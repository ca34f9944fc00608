"""The line that the first signal of a run prints, and when."""

import signal
import threading

import pytest

from mtra_jax.runs.processes import signals

STOPPING = (
    "stopping after the current step (a compilation may take minutes), then saving"
)


@pytest.mark.parametrize(
    ("number", "line"),
    [
        (signal.SIGTERM, STOPPING),
        (signal.SIGINT, f"{STOPPING}; Ctrl-C again ends without saving"),
    ],
)
def test_the_first_signal_is_acknowledged_once(number, line, capfd):
    with signals.caught() as requests:
        assert not requests.should_stop()
        signal.raise_signal(number)
        signal.raise_signal(signal.SIGTERM)
        assert requests.should_stop()
        assert requests.signal == signal.SIGTERM
    assert capfd.readouterr() == ("", f"\n{line}\n")


def test_a_signal_is_acknowledged_while_the_main_thread_is_busy():
    """Python's handlers run in the main thread alone, and this one reports nothing."""
    received, has_come = [], threading.Event()

    def acknowledge(number):
        received.append(number)
        has_come.set()

    before = signal.signal(signal.SIGTERM, lambda number, frame: None)
    try:
        with signals.listening(acknowledge):
            signal.raise_signal(signal.SIGTERM)
            assert has_come.wait(60)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert received == [signal.SIGTERM]


def test_an_interrupt_of_a_call_from_python_is_acknowledged_once(capfd):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with signals.interrupts(lambda: True) as requests:
            signal.raise_signal(signal.SIGINT)
            assert requests.should_stop()
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert capfd.readouterr().err == f"\n{STOPPING}; Ctrl-C again ends without saving\n"
