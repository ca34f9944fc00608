"""A configuration -> the memory of its compiled training step."""

import jax
from ml_collections import ConfigDict

from mtra_jax import config as configs
from mtra_jax.runs import preparation
from mtra_jax.train.devices import replicate


def of(config: ConfigDict) -> int:
    """The most bytes that a training step of `config` needs on one device.

    Its arguments, results and temporaries, as the compiler reports them, for the largest of
    the shapes of its batches.

    Raises:
      InputError: data, weights or devices are missing, or values do not fit together.
    """
    if tasks := configs.separate_tasks(config):
        return max(of(configs.of_task(config, task)) for task in tasks)
    preparation.use_compilation_cache(config)
    prepared = preparation.prepare(config)
    run = prepared.run
    state = replicate(run.state, prepared.devices, prepared.mapping)
    sizes = []
    for blank in run.train.blanks(run.schedule.plan(0)[0]):
        analysis = run.update.compiled(state, blank).memory_analysis()
        assert analysis is not None  # every backend of JAX has it
        sizes.append(
            analysis.argument_size_in_bytes
            + analysis.output_size_in_bytes
            + analysis.temp_size_in_bytes
            - analysis.alias_size_in_bytes
        )
    jax.clear_caches()
    return max(sizes)
