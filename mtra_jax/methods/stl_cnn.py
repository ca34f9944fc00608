"""STL with CNN: a text CNN for each task on the token outputs of the frozen encoder.

Source: Hu et al. 2026 (MTRA), Table 3 ("task-specific CNN classifiers with a frozen
RoBERTa backbone"); the network is that of Kim 2014.
"""

import jax
import jax.numpy as jnp

from mtra_jax import balancing
from mtra_jax.balancing import checks
from mtra_jax.methods import contract, layout, randomness, task_losses
from mtra_jax.methods.model import Model
from mtra_jax.models import convolution
from mtra_jax.types import Batch, Params, Rngs

WIDTHS = (3, 4, 5)
"""Widths of the filters in tokens; Kim 2014, section 3.1."""


def make(model: Model, *, num_filters: int = 217) -> contract.Method:
    """Makes STL with CNN: filters of 3 to 5 tokens, relu, maxima over the text, a head.

    With 768 dimensions, 217 filters of each width give the 2M parameters per task of
    Table 3. The encoder runs without dropout and gets no gradient. Each task is trained
    in a separate run.

    Raises:
      OptionError: `num_filters` is less than 1.
    """
    checks.integer("num_filters", num_filters)
    names = model.space.names

    def init(rng: jax.Array) -> Params:
        normal = jax.nn.initializers.lecun_normal(in_axis=(0, 1))

        def filters(rng: jax.Array) -> Params:
            shapes = {
                f"width_{width}": (width, model.hidden_size, num_filters)
                for width in WIDTHS
            }
            keys = jax.random.split(rng, len(WIDTHS))
            return {
                name: {"kernel": normal(key, shape), "bias": jnp.zeros(num_filters)}
                for key, (name, shape) in zip(keys, shapes.items(), strict=True)
            }

        keys = jax.random.split(rng, len(names))
        return {"tasks": {n: filters(k) for n, k in zip(names, keys, strict=True)}}

    def forward(
        params: Params,
        batch: Batch,
        rngs: Rngs | None,
        axis_name: str | None,
    ) -> contract.Losses:
        _, heads_rng = randomness.dropout_keys(rngs)
        hidden = jax.lax.stop_gradient(model.encode(params, batch, None))
        hidden = hidden.astype(jnp.promote_types(hidden.dtype, jnp.float32))
        tasks = params["method"]["tasks"]
        filters = [_side_by_side(tasks, names, f"width_{width}") for width in WIDTHS]
        responses = convolution.convolve(hidden, layout.merged(batch), filters)
        # [B, widths, T, F]: each text takes the filters of its task.
        num_texts = len(responses)
        responses = responses.reshape(num_texts, len(WIDTHS), len(names), num_filters)
        own = jnp.take_along_axis(responses, batch.tasks[:, None, None, None], axis=2)
        features = own.reshape(num_texts, -1)
        outputs = model.predict(params, features, heads_rng)
        task = task_losses.of_outputs(model.space, outputs, batch, axis_name)
        return contract.Losses(task, {"task": task}, outputs)

    return contract.Method(
        init,
        forward,
        balancing.ew("sum"),
        num_features=len(WIDTHS) * num_filters,
    )


def _side_by_side(
    tasks: Params, names: tuple[str, ...], width: str
) -> tuple[jax.Array, jax.Array]:
    """Returns all tasks' filters of one width: kernel [width, H, T * F], bias [T * F]."""
    kernels = [tasks[name][width]["kernel"] for name in names]
    biases = [tasks[name][width]["bias"] for name in names]
    return jnp.concatenate(kernels, axis=-1), jnp.concatenate(biases)
