"""Gradients in, parameter updates out: global-norm clipping, Adamax, warm-up."""

import optax

from mtra_jax.methods import base


def warm_up(learning_rate: float, num_warm_up_steps: int) -> optax.Schedule:
    """Linear from `learning_rate`/n at the first step to the full rate at step n; constant after.

    The first step already moves: the rate at step k (from 0) is that of k + 1 of n.
    """
    start = learning_rate / max(num_warm_up_steps, 1)
    steps = max(num_warm_up_steps - 1, 0)
    if steps == 0:
        return optax.constant_schedule(learning_rate)
    return optax.linear_schedule(start, learning_rate, steps)


def make(
    schedule: optax.Schedule, tasks: tuple[str, ...], clip_norm: float = 1.0
) -> optax.GradientTransformationExtraArgs:
    """Clipping at `clip_norm`, Adamax (Kingma & Ba 2015, Algorithm 2), the rate of `schedule`.

    `update` takes the keyword `present`, bool [T]. The parameters, moments and step count
    of an absent task rest: in PyTorch, on which the published figures stand, they have no
    gradient and are skipped; a zero gradient would let Adamax's momentum move them.
    The clipping (coefficient min(1, c/‖g‖), without the 1e-6 that PyTorch adds to the
    norm) and the schedule are global.
    """
    groups = {base.SHARED: optax.scale_by_adamax()}
    for index, task in enumerate(tasks):
        groups[task] = optax.conditionally_mask(
            optax.scale_by_adamax(),
            lambda step, present, index=index, **_: present[index],
            forward_extra_args=True,
        )
    return optax.chain(
        optax.clip_by_global_norm(clip_norm),
        optax.multi_transform(groups, base.owners),
        optax.scale_by_learning_rate(schedule),
    )
