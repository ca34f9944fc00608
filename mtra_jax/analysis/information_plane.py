"""Representations of a task's texts -> a point of the information plane, in nats.

InfoMTL's figure 2 has I(X; Z) across and I(Z; Z_t) upwards, an epoch a point. The paper
does not say how it estimates them. Its Eq. 2 bounds I(X; Z) from below by I(Z; Z'),
with Z' a second dropout view of the same texts, since Z and Z' are independent given X.
This is what is estimated here, by a fresh critic as in `information`, and so is
I(Z; Z_t).
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from mtra_jax import objectives
from mtra_jax.analysis import information, vectors
from mtra_jax.analysis.information import Bound, Budget


class Point(NamedTuple):
    """Lower bounds on I(X; Z) and I(Z; Z_t), on texts that no critic was trained on."""

    input_and_shared: float
    shared_and_output: float


def point(
    bound: Bound,
    z: Any,
    z_again: Any,
    outputs: Any,
    *,
    seed: int,
    budget: Budget = Budget(),  # noqa: B008
) -> Point:
    """Returns the point of one task in one state of a model.

    `z` and `z_again` [N, H]: representations under different dropout masks. `outputs`
    [N, L]: the task's outputs Z_t from `z`, drawn where the method draws them. A random
    half of the texts trains the critics, and the other half is measured. Where Z_t is a
    function of Z, I(Z; Z_t) has no finite value: the figure then says what a critic of
    this size and bound can show, and only figures with the same `budget` compare.

    Raises:
      ValueError: the shapes do not fit, or an entry is not finite.

    Source: InfoMTL, Eq. 2 and figure 2.
    """
    z, z_again, outputs = (
        vectors.matrix(name, array)
        for name, array in (("z", z), ("z_again", z_again), ("outputs", outputs))
    )
    if not len(z) == len(z_again) == len(outputs):
        raise ValueError(
            "`z`, `z_again` and `outputs` must have the same rows; "
            f"found {len(z)}, {len(z_again)} and {len(outputs)}."
        )
    order = np.random.default_rng(seed).permutation(len(z))
    halves = order[: len(z) // 2], order[len(z) // 2 :]

    def measured(y: np.ndarray) -> float:
        training, validation = ((z[rows], y[rows]) for rows in halves)
        return information.estimate(
            bound, training, validation, seed=seed, budget=budget
        ).validation

    return Point(measured(z_again), measured(outputs))


def view_bound(z: Any, z_again: Any, temperature: float = 1.0) -> float:
    """Returns log N − InfoNCE(z, z'; τ), the bound on I(X; Z) that InfoMTL raises.

    It needs no critic, and is at most log N. `z` and `z_again` [N, H].

    Raises:
      ValueError: the shapes do not fit, or `temperature` is not positive.

    Source: van den Oord et al. 2018, section 2.3; InfoMTL, Eq. 2.

    >>> print(f"{view_bound(jnp.eye(2), jnp.eye(2)):.4f}")  # log 2 − log(1 + exp(-1))
    0.3799
    """
    loss = objectives.info_nce(jnp.asarray(z), jnp.asarray(z_again), temperature)
    return float(np.log(len(z)) - loss)
