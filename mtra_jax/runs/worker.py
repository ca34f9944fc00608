"""`python -m mtra_jax.runs.worker`: trains the run that standard input describes.

`workers` starts it, and says what is read and written.
"""

import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO


def main() -> None:
    """Trains the run, and writes how it ended."""
    line = json.loads(sys.stdin.readline())
    if line["cores"]:
        # Before JAX starts as many threads as there are cores.
        os.sched_setaffinity(0, line["cores"])
    channel = _channel()
    threading.Thread(target=_follow, name="parent", daemon=True).start()

    from mtra_jax.errors import InputError, RunError
    from mtra_jax.runs import loop, processes
    from mtra_jax.train.devices import start_devices

    def say(text: str) -> None:
        _write(channel, {"say": text})

    try:
        start_devices()
        end = _trained(line, say)
    except InputError as error:
        end = {"state": "refused", "reason": str(error)}
    except RunError as error:
        end = {"state": "failed", "reason": str(error)}
    except loop.Stopped:
        end = {"state": "failed", "reason": "stopped by a signal, and saved"}
    except Exception as error:
        traceback.print_exc()
        end = {"state": "failed", "reason": f"{type(error).__name__}: {error}"}
    _write(channel, end)
    processes.leave(0)


def _trained(line: dict[str, Any], say: Callable[[str], None]) -> dict[str, Any]:
    from mtra_jax.reports import bars
    from mtra_jax.runs import (
        display,
        experiments,
        processes,
        search_trials,
        signals,
        training,
    )

    pairs = tuple((key, text) for key, text in line["trial"][4])
    trial = experiments.Trial(*line["trial"])._replace(overrides=pairs)
    directory = Path(line["directory"])
    with signals.caught(processes.own_signals()) as requests:
        should_stop = processes.stop_together(requests.should_stop)
        if line["kind"] == "trial":
            record = search_trials.run(
                trial, directory, lambda epoch, score: False, say, should_stop
            )
            return {"state": "finished", "record": record._asdict()}
        config = experiments.config_of(
            trial, [(key, text) for key, text in line["overrides"]]
        )
        shown = display.Display(bars.write_line, warn=say, should_stop=should_stop)
        training.train(config, directory, shown.watch)
    return {"state": "finished"}


def _channel() -> TextIO:
    """Standard output, to which nothing else writes from now on: that goes to the log."""
    own = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return own


def _write(channel: TextIO, message: dict[str, Any]) -> None:
    channel.write(f"{json.dumps(message)}\n")
    channel.flush()


def _follow() -> None:
    """Asks this process to save and end once the one that started it has ended."""
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
