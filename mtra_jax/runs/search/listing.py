"""A search -> the trials that it has still to train, and about how long they take."""

from mtra_jax.reports.formatting import tables, times
from mtra_jax.runs.search.plan import Search
from mtra_jax.runs.sweeps import estimates
from mtra_jax.runs.training import same_inputs
from mtra_jax.runs.trials import run_specs, validation_run


def listing(planned: Search, num_workers: int = 1) -> str:
    """A row for each method, and the time of all by a measured step.

    `num_workers`: trials at a time.

    Each trial counts with all its epochs, and with the values of the preset for what the
    search varies.

    Raises:
      InputError: data, weights or devices are missing.
    """
    current = same_inputs.Current()
    rates = None
    body = [("method", "trials", "ended", "epochs", "about")]
    left: list[float] = []
    for name in planned.spaces:
        config = run_specs.config_of(planned.trial(name, ()))
        rates = rates or estimates.from_step(config)
        data, _ = current.data(config)
        count = planned.num_trials
        places = (planned.directory(name, number) for number in range(count))
        ended = sum(validation_run.read(place) is not None for place in places)
        own = [estimates.seconds(config, data, rates)] * (count - ended)
        left += own
        about = times.duration(sum(own))
        body.append((name, str(count), str(ended), str(config.epochs), about))
    assert rates is not None  # a search has a method
    return (
        f"{tables.align(body)}\n"
        f"all trials take about {estimates.of_jobs([left], num_workers, 'trial')} "
        f"({rates.origin}, if this machine does nothing else)"
    )
