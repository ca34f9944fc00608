"""Nonfinite figures -> lines that report them, and whether training ends."""

import math
from collections.abc import Callable, Mapping
from typing import Any

ADVICE = (
    "the run has diverged: a lower learning_rate (or smaller regression targets) may "
    "help, in a new --workdir"
)


def check_step(
    step: int,
    flat: Mapping[str, float],
    max_bad_steps: int,
    say: Callable[[str], Any],
) -> str:
    """Reports a skipped step; returns why training ends, or "" if it continues.

    `flat`: the step's figures, see `metrics_log.flatten`; "bad_steps" counts skipped
    steps in a row.
    """
    count = int(flat["bad_steps"])
    if not count:
        return ""
    bad = [name for name, value in flat.items() if not math.isfinite(value)]
    tasks = [name.removeprefix("loss/") for name in flat if name.startswith("loss/")]
    line = f"step {step} on {', '.join(tasks)}: not finite: {', '.join(bad)}"
    if count >= max_bad_steps:
        return f"{line}; {count} such steps in a row"
    say(f"{line}; skipped, {count} in a row")
    return ""


def report_validation(
    epoch: int, faults: Mapping[str, str], say: Callable[[str], Any]
) -> None:
    """Reports the `faults` of each task in the validation of `epoch` (from 1), if any."""
    if faults:
        listed = ", ".join(f"{task}: {fault}" for task, fault in faults.items())
        say(f"epoch {epoch}: {listed}; it cannot be the best")
