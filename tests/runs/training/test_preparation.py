"""Choices of a configuration before the first step."""

import jax
import numpy as np
import pytest

from mtra_jax import config as configs
from mtra_jax.runs.training import preparation

pytestmark = pytest.mark.slow


def prepared(seed):
    """The run with that seed."""
    config = configs.load(
        "configs/mtra.py:new_synthetic",
        [
            ("seed", str(seed)),
            ("tasks", "irony,intensity"),
            ("data.fraction", "0.05"),
            ("backbone.vocab_size", "200"),
            ("backbone.hidden_size", "16"),
            ("backbone.intermediate_size", "32"),
            ("backbone.num_hidden_layers", "1"),
            ("data.cache_dir", ""),
            ("devices", "1"),
        ],
    )
    return preparation.prepare(config).run


def test_the_seed_decides_weights_dropout_and_order():
    first, again, other = prepared(0), prepared(0), prepared(1)
    for epoch in (0, 1):
        plans = [run.schedule.plan(epoch) for run in (first, again, other)]
        np.testing.assert_array_equal(plans[0], plans[1])
        # The same number of examples in another order; -1 fills the last batches up.
        np.testing.assert_array_equal(np.unique(plans[0]), np.unique(plans[2]))
        assert np.mean(plans[0][plans[0] >= 0] == plans[2][plans[0] >= 0]) < 0.1
    jax.tree.map(np.testing.assert_array_equal, first.state, again.state)
    for part in ("encoder", "method"):
        params = (first.state.params[part], other.state.params[part])
        for one, two in zip(*map(jax.tree.leaves, params), strict=True):
            # Biases and scales start as constants, the row of the padding as zeros.
            if np.ptp(one):
                assert np.mean(one == two) < 0.1
    assert not np.array_equal(first.state.rng, other.state.rng)
