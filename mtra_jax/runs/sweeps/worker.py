"""The process of a run: trains what standard input describes, and says how it ended.

`workers` starts it, and says what is read and written.
"""

import contextlib
import io
import json
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

LONGEST = 1500
"""Characters of a reason."""


def start() -> None:
    """Runs `main`; the process ends without cleaning up after an error."""
    try:
        main()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


def main() -> None:
    """Trains the run, and writes how it ended."""
    # Until the run can be saved the process just ends.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    line = json.loads(sys.stdin.readline())
    if line["cores"]:
        # Before JAX starts as many threads as there are cores.
        os.sched_setaffinity(0, line["cores"])
    channel = _channel()
    _pass_warnings_on(channel)
    threading.Thread(target=_follow, name="parent", daemon=True).start()

    from mtra_jax import failures
    from mtra_jax.errors import InputError
    from mtra_jax.runs.processes import group
    from mtra_jax.runs.training import loop

    def say(text: str) -> None:
        _write(channel, {"say": text})

    try:
        _start_devices(line["platform"])
        end = _trained(line, say)
    except InputError as error:
        end = {"state": "refused", "reason": str(error)}
    except loop.Stopped:
        end = {"state": "stopped", "reason": "stopped by a signal, and saved"}
    except Exception as error:
        traceback.print_exc()
        reason = failures.explain(error).line.removeprefix("error: ")
        end = {"state": "failed", "reason": " ".join(reason.split())[:LONGEST]}
    _write(channel, end)
    group.leave(0)


def _start_devices(platform: str) -> None:
    """Raises RunError if this process would train on other devices than planned."""
    import jax

    from mtra_jax.errors import RunError
    from mtra_jax.train.devices import start_devices

    start_devices()
    if jax.default_backend() != platform:
        raise RunError(
            f"the devices of this process are of {jax.default_backend()}, those of the "
            f"command of {platform}; fewer --jobs may help"
        )


def _trained(line: dict[str, Any], say: Callable[[str], None]) -> dict[str, Any]:
    from mtra_jax.reports.progress import bars
    from mtra_jax.runs.processes import group, signals
    from mtra_jax.runs.training import display
    from mtra_jax.runs.training import run as training
    from mtra_jax.runs.trials import run_specs, validation_run

    trial = run_specs.Trial(*line["trial"])
    trial = trial._replace(overrides=tuple((k, text) for k, text in trial.overrides))
    directory = Path(line["directory"])
    with signals.caught(group.own_signals()) as requests:
        should_stop = group.stop_together(requests.should_stop)
        if line["kind"] == "trial":
            record = validation_run.run(
                trial,
                directory,
                lambda epoch, score: False,
                say,
                should_stop,
                bars.write_line,
            )
            return {"state": "finished", "record": record._asdict()}
        overrides = [(key, text) for key, text in line["overrides"]]
        config = run_specs.config_of(trial, overrides)
        with display.Display(
            bars.write_line, warn=say, should_stop=should_stop
        ) as shown:
            training.train(config, directory, shown.watch)
    return {"state": "finished"}


def _channel() -> TextIO:
    """Standard output, to which nothing else writes from now on: that goes to the log."""
    own = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    return own


def _pass_warnings_on(channel: TextIO) -> None:
    """From now on warnings of Python go to `channel` as well as to the log."""
    to_log = warnings.showwarning

    def show(
        message: Warning | str, category: type[Warning], *place: Any, **options: Any
    ) -> None:
        _write(channel, {"warning": str(message)})
        to_log(message, category, *place, **options)

    warnings.showwarning = show


def _write(channel: TextIO, message: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):  # nobody reads any more: `_follow` sees that
        channel.write(f"{json.dumps(message)}\n")
        channel.flush()


def _follow() -> None:
    """Ends this process once the one that started it has ended.

    As by Ctrl-C: the first signal saves; a second one, after the command was told to stop,
    ends at once. A read by `os` holds no lock at the end of the interpreter.
    """
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGINT)
