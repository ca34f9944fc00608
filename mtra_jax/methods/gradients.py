"""A method's losses -> one gradient, by the method's rule."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mtra_jax import objectives
from mtra_jax.balancing import Balancer, Combined, Inputs, Reads, State, rows
from mtra_jax.balancing.contract import total
from mtra_jax.methods import layout, model, perturbed, task_losses
from mtra_jax.methods.contract import AlignedPasses, Losses, Memory, Method
from mtra_jax.types import Batch, Params, Rngs


class Gradient(NamedTuple):
    """One gradient of the global batch, and the values that the step logs.

    `present` (bool), `losses`, `weights` and the entries of `terms` are [T]; `scalars`
    holds single numbers. `memory` is the method's next memory.
    """

    grads: Params
    objective: jax.Array
    present: jax.Array
    losses: jax.Array
    weights: jax.Array
    terms: dict[str, jax.Array]
    scalars: dict[str, jax.Array]
    memory: Memory


class _Step(NamedTuple):
    """A method and the inputs of one of its steps; `present` is bool [T]."""

    method: Method
    params: Params
    batch: Batch
    present: jax.Array
    rngs: Rngs
    memory: Memory
    tasks: tuple[str, ...]
    axis_name: str | None

    @property
    def part_tasks(self) -> jax.Array:
        """The task of each part [P], of a batch whose parts have one task each."""
        return jnp.asarray(self.batch.tasks[:, 0])

    def losses_of(self, params: Params, batch: Batch, rngs: Rngs) -> Losses:
        """The method's losses, of one part of a batch."""
        return self.method.losses(params, batch, rngs, self.axis_name)

    def balanced(
        self,
        losses: jax.Array,
        params: Params | None = None,
        gramian: jax.Array | None = None,
        gradients: list[jax.Array] | None = None,
    ) -> Combined:
        """The result of the method's balancer at `params`, by default the step's."""
        key = self.rngs["method"]
        inputs = Inputs(losses, self.present, key, gramian, gradients)
        own = (self.params if params is None else params)["method"]
        return balance(self.method, own, inputs, self.memory, self.tasks)

    def already_averaged(self, params: Params) -> Any:
        """A mask of the gradients that the backward pass has averaged over the devices."""
        return layers(params) if self.method.in_pieces else False

    def mean_over_devices(self, grads: Params) -> Params:
        """Averages the gradients that are not averaged yet."""
        return objectives.mean_over(grads, self.axis_name, self.already_averaged(grads))


def word_embeddings(params: Params) -> Any:
    """Returns a mask of the word-embedding matrix, which MTRA perturbs (section 3.2)."""
    mask = jax.tree.map(lambda _: False, params)
    mask["encoder"]["embeddings"]["word_embeddings"]["embedding"] = True
    return mask


def layers(params: Params) -> Any:
    """Returns a mask of the encoder's layers."""
    mask = jax.tree.map(lambda _: False, params)
    mask["encoder"]["layers"] = True
    return mask


def first_memory(method: Method, params: Params) -> Memory:
    """Returns the memory of `method` before the first step; () for one without."""
    if isinstance(method.rule, AlignedPasses):
        return ()
    balancer, num_tasks = method.rule, len(params["heads"])
    if balancer.reads is not Reads.GRADIENTS:
        return balancer.init(num_tasks).memory
    # One program, not one for each leaf.
    first = jax.jit(lambda leaves: balancer.init(num_tasks, leaves).memory)
    return first(model.shared_leaves(params))


def balance(
    method: Method, own: Params, inputs: Inputs, memory: Memory, tasks: tuple[str, ...]
) -> Combined:
    """Returns the result of the method's balancer.

    `own`: `params["method"]`, which has the numbers that the balancer learns.
    """
    assert isinstance(method.rule, Balancer)
    learned: Any = ()
    if method.learned:
        learned = jnp.stack([own["tasks"][name][method.learned] for name in tasks])
    return rows.combined(method.rule, inputs, State(learned, memory))


def differentiate(
    method: Method,
    params: Params,
    batch: Batch,
    rngs: Rngs,
    memory: Memory,
    *,
    tasks: tuple[str, ...],
    one_task: bool,
    axis_name: str | None,
) -> Gradient:
    """Returns the gradient of the method's objective, averaged over the devices.

    `batch` has the axis P of `types.Batch`. `tasks` are the names of all tasks, in the
    order of the label space. With `one_task` the caller guarantees that the global batch
    holds a single task, which saves the aligned gradient a backward pass.

    Raises:
      ValueError: `batch` has several parts, but the method reads no gradients of tasks;
        or the method has `sharpness`, but its balancer does not read the Gramian.
    """
    present = task_losses.present(batch, len(tasks), axis_name)
    step = _Step(method, params, batch, present, rngs, memory, tasks, axis_name)
    rule = method.rule
    if method.sharpness is not None and method.reads != Reads.GRAMIAN.value:
        raise ValueError(
            "`sharpness` needs a balancer that reads the Gramian; found one that reads "
            f"{method.reads}."
        )
    if isinstance(rule, AlignedPasses):
        step = step._replace(batch=layout.only_part(batch))
        return _aligned(rule.epsilon, step, one_task=one_task)
    if rule.reads is Reads.LOSSES:
        return _weighted(step._replace(batch=layout.only_part(batch)))
    if len(batch.tasks) == 1 and not one_task:
        step = step._replace(batch=layout.one_part_per_task(batch, len(tasks)))
    return _merged(step) if rule.reads is Reads.GRADIENTS else _combined(step)


def _weighted(step: _Step) -> Gradient:
    """The gradient of one scalar, with a balancer that reads the losses."""

    def value_of(params: Params, losses: jax.Array) -> tuple[jax.Array, Memory]:
        result = step.balanced(losses, params)
        return result.value, result.memory

    def objective(params: Params) -> tuple[jax.Array, tuple[Losses, Memory]]:
        outcome = step.losses_of(params, step.batch, step.rngs)
        value, memory = value_of(params, outcome.losses)
        if outcome.batch_loss is not None:
            value += outcome.batch_loss
        return value, (outcome, memory)

    (value, (outcome, memory)), grads = jax.value_and_grad(objective, has_aux=True)(
        step.params
    )
    losses = outcome.losses
    weights = jax.grad(value_of, argnums=1, has_aux=True)(step.params, losses)[0]
    grads = step.mean_over_devices(grads)
    own = outcome.batch_loss
    scalars = {} if own is None else {"batch_loss": own}
    terms, floor = outcome.terms, step.method.floor
    if floor is not None:
        terms = {**terms, "floored": step.present & (losses <= floor)}
    return Gradient(grads, value, step.present, losses, weights, terms, scalars, memory)


def _combined(step: _Step) -> Gradient:
    """Σ_t w_t g_t, with a balancer that reads the Gramian of the gradients g_t."""
    if step.method.sharpness is None:
        losses, terms, grads = _gradients_of_parts(step)
    else:
        losses, terms, grads = perturbed.gradients_of_parts(
            step.method.sharpness,
            step.method.losses,
            step.params,
            step.batch,
            step.rngs,
            step.axis_name,
            step.tasks,
        )
    owners, part_tasks = model.owners(step.params), step.part_tasks
    gram = _gramian(grads, owners, part_tasks, len(step.tasks))
    result = step.balanced(losses, gramian=gram)
    weights, own_weights = result.value, result.own_weights
    if own_weights is None:
        own_weights = step.present.astype(gram.dtype)

    def weighted_leaf(leaf: jax.Array, owner: str) -> jax.Array:
        if owner == model.SHARED:
            shares = weights[part_tasks]
        else:
            is_own = part_tasks == step.tasks.index(owner)
            shares = jnp.where(is_own, own_weights[part_tasks], 0)
        return rows.weighted_sum(shares, leaf)

    return Gradient(
        jax.tree.map(weighted_leaf, grads, owners),
        total(losses, step.present),
        step.present,
        losses,
        weights,
        terms,
        {},
        result.memory,
    )


def _merged(step: _Step) -> Gradient:
    """One gradient by a balancer that reads the gradients, not a weighted sum in general.

    Parameters of a single task take the gradient of that task's loss, by its weight: 1
    where the balancer has no weights.
    """
    losses, terms, grads = _gradients_of_parts(step)
    leaves, structure = jax.tree.flatten(grads)
    owners = jax.tree.leaves(model.owners(step.params))

    def of_tasks(leaf: jax.Array) -> jax.Array:
        """[P, ...] -> [T, ...]"""
        zeros = jnp.zeros((len(step.tasks), *leaf.shape[1:]), leaf.dtype)
        return zeros.at[step.part_tasks].set(leaf)

    pairs = [*zip(leaves, owners, strict=True)]
    shared = [of_tasks(leaf) for leaf, owner in pairs if owner == model.SHARED]
    result = step.balanced(losses, gradients=shared)
    weights = result.own_weights
    if weights is None:
        weights = step.present.astype(losses.dtype)

    def of_owner(leaf: jax.Array, owner: str) -> jax.Array:
        task = step.tasks.index(owner)
        return of_tasks(leaf)[task] * weights[task].astype(leaf.dtype)

    next_merged = iter(result.value)
    merged = [
        next(next_merged) if owner == model.SHARED else of_owner(leaf, owner)
        for leaf, owner in pairs
    ]
    return Gradient(
        jax.tree.unflatten(structure, merged),
        total(losses, step.present),
        step.present,
        losses,
        weights,
        terms,
        {},
        result.memory,
    )


def _gradients_of_parts(
    step: _Step,
) -> tuple[jax.Array, dict[str, jax.Array], Params]:
    """Returns losses [T], terms [T], and the gradient of each part, leaves [P, ...].

    Each text is in one part, so all gradients together cost one forward and one backward
    pass. A backward pass per task over a whole batch would process all texts each time.
    """

    def of_part(part: Batch, index: jax.Array) -> tuple[tuple, Params]:
        def loss(params: Params) -> tuple[jax.Array, tuple]:
            return task_losses.of_part(
                step.method.losses, params, part, index, step.rngs, step.axis_name
            )

        return jax.value_and_grad(loss, has_aux=True)(step.params)

    places = jnp.arange(len(step.batch.tasks))
    (_, (losses, terms)), grads = jax.vmap(of_part)(step.batch, places)
    losses, terms = jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), (losses, terms))
    return losses, terms, step.mean_over_devices(grads)


def _gramian(
    grads: Params, owners: Any, part_tasks: jax.Array, num_tasks: int
) -> jax.Array:
    """Returns the inner products [T, T] of the gradients of the shared parameters."""
    pairs = zip(jax.tree.leaves(grads), jax.tree.leaves(owners), strict=True)
    products = functools.reduce(
        jnp.add,
        (rows.inner_products(leaf) for leaf, owner in pairs if owner == model.SHARED),
    )
    gram = jnp.zeros((num_tasks, num_tasks), products.dtype)
    return gram.at[part_tasks[:, None], part_tasks].set(products)


def _aligned(epsilon: float, step: _Step, *, one_task: bool) -> Gradient:
    """The gradient of both passes of MTRA."""
    present, floor = step.present, step.method.floor

    def per_task(params: Params, rngs: Rngs) -> tuple[jax.Array, Any]:
        outcome = step.losses_of(params, step.batch, rngs)
        return outcome.losses, outcome.terms

    def summed(params: Params, rngs: Rngs) -> tuple[jax.Array, Any]:
        losses, terms = per_task(params, rngs)
        return total(losses, present), terms

    options: dict[str, Any] = {
        "epsilon": epsilon,
        "select": word_embeddings,
        "logarithm": floor is not None,
        "axis_name": step.axis_name,
        "averaged": step.already_averaged,
    }
    if floor is not None:
        options["floor"] = floor
    if one_task:
        value_and_grad = objectives.aligned_value_and_grad(summed, **options)
        (value, passes), grads = value_and_grad(step.params, step.rngs)
    else:
        value_and_grad = objectives.aligned_tasks_value_and_grad(per_task, **options)
        (value, passes), grads = value_and_grad(step.params, present, step.rngs)
    # [T] in both cases: with one task the aligned gradient returns that task's scalars.
    losses, perturbed, weights = (
        jnp.where(present, x, 0)
        for x in (passes.loss, passes.perturbed_loss, passes.weight)
    )
    terms = {**passes.aux, "perturbed": perturbed}
    if floor is not None:
        terms["floored"] = present & passes.is_floored
    scalars = {
        "norm/perturbation_gradient": passes.gradient_norm,
        "norm/perturbation": passes.perturbation_norm,
    }
    return Gradient(grads, value, present, losses, weights, terms, scalars, step.memory)
