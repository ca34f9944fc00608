"""Batches of one task each, and a model -> inner products of the tasks' gradients."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from mtra_jax.analysis import conflicts
from mtra_jax.data.packed import batches, packing, plans
from mtra_jax.data.packed.batches import Corpus
from mtra_jax.methods import model as networks
from mtra_jax.methods import task_losses
from mtra_jax.methods.contract import Method
from mtra_jax.methods.model import Model
from mtra_jax.types import Batch, Params

NUM_BATCHES = 4
"""Batches of each task whose gradients are averaged."""


def pack(
    corpus: Corpus,
    batch_size: int,
    *,
    num_devices: int = 1,
    local_devices: Sequence[int] = (0,),
    micro_batches: int = 1,
) -> Batch:
    """The first `NUM_BATCHES` batches of each task, as the parts of one batch [D, P, ...].

    The options are those of `batches.Batcher`.
    """
    plan = plans.plan_evaluation(corpus.sizes, batch_size)
    tasks = corpus.tasks[plan[:, 0]]
    first = [np.flatnonzero(tasks == t)[:NUM_BATCHES] for t in range(len(corpus.sizes))]
    plan = plan[np.concatenate(first)]
    lengths = np.diff(corpus.tokens.offsets)
    shares = [
        share
        for row in plan
        for share in batches.device_shares(lengths, row, num_devices * micro_batches)
    ]
    batcher = batches.Batcher(
        corpus,
        (packing.needed_shape(shares),),
        num_devices=num_devices,
        local_devices=local_devices,
        micro_batches=micro_batches,
        part_size=batch_size,
    )
    parts = zip(*batcher.batches(plan), strict=True)
    return Batch(*(np.concatenate(arrays, axis=1) for arrays in parts))


def make_gramian(
    model: Model, method: Method, axis_name: str | None = None
) -> Callable[[Params, Batch], jax.Array]:
    """Returns the function of parameters and batch that gives inner products [T, T].

    The gradients are those of ℓ_Task with respect to the shared parameters, without
    dropout, so that methods and steps compare. Each is a mean over the parts of the batch
    with its task; 0 for a task without a part.
    """

    def gramian(params: Params, batch: Batch) -> jax.Array:
        shared = networks.shared_leaves(params)
        counts = jnp.zeros(model.space.num_tasks).at[batch.tasks[:, 0]].add(1)

        def add(sums: list[jax.Array], part: Batch) -> tuple[list[jax.Array], None]:
            def loss(leaves: list[jax.Array]) -> jax.Array:
                whole = networks.with_shared_leaves(params, leaves)
                outputs = method.losses(whole, part, None, axis_name).outputs
                own = task_losses.of_outputs(model.space, outputs, part, axis_name)
                return jnp.sum(own)

            leaves = jax.grad(loss)(shared)
            if axis_name is not None:
                leaves = jax.lax.pmean(leaves, axis_name)
            task = part.tasks[0]
            pairs = zip(sums, leaves, strict=True)
            return [s.at[task].add(leaf / counts[task]) for s, leaf in pairs], None

        zeros = [jnp.zeros((len(counts), *leaf.shape), leaf.dtype) for leaf in shared]
        return conflicts.gramian(jax.lax.scan(add, zeros, batch)[0])

    return gramian
