"""MTRA in a training loop of your own: any encoder, three tasks, optax, `objectives`.

    python scripts/examples/mtra_own_loop.py

`losses_fn`, `is_perturbed` and `step` are the method. The rest stands for your model and
your data.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mtra_jax import objectives

BETA, EPSILON, RATE = 1.0, 1.0, 3e-3
CLASSES = (2, 3, 2)  # of each task
VOCABULARY, LENGTH, WIDTH, TEXTS = 50, 6, 32, 32


def encode(params, tokens):
    """The encoder: tokens [B, S] -> representations z [B, H]."""
    return jnp.tanh(jnp.mean(params["words"][tokens], axis=1) @ params["layer"])


def losses_fn(params, batch):
    """ℓ_t = ℓ_Task,t − β I(Z; Y_t) of each task [T]."""
    losses = []
    for task, (tokens, labels, partners) in enumerate(batch):
        z = encode(params["encoder"], tokens)
        head = params["heads"][task]
        logits = jax.nn.relu(z) @ head["kernel"] + head["bias"]
        targets = jax.nn.one_hot(labels, CLASSES[task])
        # One critic serves all tasks: y has an entry for each class of each of them.
        y = jax.nn.one_hot(labels + sum(CLASSES[:task]), sum(CLASSES))
        joint = objectives.critic_scores(params["critic"], z, y)
        shuffled = objectives.critic_scores(params["critic"], z, y[partners])
        information = objectives.dv_bound(joint, shuffled)
        losses.append(objectives.cross_entropy(logits, targets) - BETA * information)
    return jnp.stack(losses)


def is_perturbed(params):
    """True for the word embeddings, which δ moves."""
    return {**dict.fromkeys(params, False), "encoder": {"words": True, "layer": False}}


grad_fn = objectives.aligned_tasks_value_and_grad(
    losses_fn, epsilon=EPSILON, select=is_perturbed
)
optimiser = optax.adamax(RATE)


@jax.jit
def step(params, moments, batch):
    present = jnp.ones(len(batch), bool)  # False for a task without texts in the batch
    (value, aligned), gradient = grad_fn(params, present, batch)
    updates, moments = optimiser.update(gradient, moments, params)
    return optax.apply_updates(params, updates), moments, value, aligned


def init_params(rng):
    words, layer, critic, *heads = jax.random.split(rng, 3 + len(CLASSES))
    return {
        "encoder": {
            "words": jax.random.normal(words, (VOCABULARY, WIDTH)),
            "layer": jax.random.normal(layer, (WIDTH, WIDTH)) / WIDTH**0.5,
        },
        "heads": [
            {
                "kernel": jax.random.normal(key, (WIDTH, count)) / WIDTH**0.5,
                "bias": jnp.zeros(count),
            }
            for key, count in zip(heads, CLASSES, strict=True)
        ],
        "critic": objectives.init_critic(critic, WIDTH, sum(CLASSES)),
    }


def draw_batch(draws):
    """(tokens [B, S], labels [B], partners [B]) of each task; labels follow the tokens.

    `partners` is a permutation of the texts: z with the label of another text.
    """
    return [
        (tokens, tokens[:, :2].sum(axis=1) * count // (2 * VOCABULARY), partners)
        for count in CLASSES
        for tokens in [draws.integers(VOCABULARY, size=(TEXTS, LENGTH))]
        for partners in [draws.permutation(TEXTS)]
    ]


def main(num_steps=400):
    """Trains, and returns the objective of each step."""
    draws, params = np.random.default_rng(0), init_params(jax.random.key(0))
    moments, values = optimiser.init(params), []
    for number in range(1, num_steps + 1):
        params, moments, value, aligned = step(params, moments, draw_batch(draws))
        values.append(float(value))
        if number % 100 == 0:
            losses = " ".join(f"{loss:.3f}" for loss in aligned.loss)
            print(f"step {number}: objective {value:.3f}, losses {losses}")
    return values


if __name__ == "__main__":
    main()
