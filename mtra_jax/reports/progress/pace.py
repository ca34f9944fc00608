"""Times of the steps of a run -> examples per second, and the time that is left."""

import collections
import statistics
import time

from mtra_jax.reports.formatting import times

RECENT_SECONDS = 20.0
"""Time that the rate of a training run covers; more where one step takes longer."""
RECENT_STEPS = 100
FEWEST_STEPS = 5
"""Before that many steps a log says nothing about the time that is left."""
COMPILING = 10.0
"""A step of more than this times the median is taken to have compiled."""


class Pace:
    """Examples per second of the last `RECENT_SECONDS` of training, and seconds per step.

    The first steps compile, and would lower a mean over the whole run for a long time. The
    time of validations is left out.
    """

    def __init__(self) -> None:
        self._last_step = time.monotonic()
        self._times: collections.deque[float] = collections.deque(maxlen=RECENT_STEPS)
        self._steps: collections.deque[tuple[float, int]] = collections.deque()
        self._seconds, self._examples = 0.0, 0  # of all `_steps`

    def step(self, examples: int) -> float:
        """Counts the examples of a step, and returns the rate."""
        now = time.monotonic()
        seconds, self._last_step = now - self._last_step, now
        self._steps.append((seconds, examples))
        self._times.append(seconds)
        self._seconds += seconds
        self._examples += examples
        while self._seconds - self._steps[0][0] >= RECENT_SECONDS:
            seconds, examples = self._steps.popleft()
            self._seconds -= seconds
            self._examples -= examples
        return self._examples / max(self._seconds, 1e-9)

    @property
    def seconds_per_step(self) -> float:
        """The mean of the last `RECENT_STEPS` without those that compile."""
        longest = COMPILING * statistics.median_low(self._times)
        return statistics.fmean(t for t in self._times if t <= longest)

    def left(self, num_steps: int) -> str:
        """How long `num_steps` take, as the end of a line; "" before `FEWEST_STEPS`."""
        if len(self._times) < FEWEST_STEPS:
            return ""
        return f", about {times.duration(num_steps * self.seconds_per_step)} left"

    def leave_out(self) -> None:
        """Excludes the time since the last step from the rate."""
        self._last_step = time.monotonic()
