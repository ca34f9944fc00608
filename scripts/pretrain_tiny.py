"""Pretrains the encoder of the built-in benchmark on texts without labels.

    python scripts/pretrain_tiny.py --to runs/tiny_encoder

The texts come from the grammar of the benchmark `synthetic`, without any text of its tasks.
The directory has the layout of Hugging Face; the one in the package, `builtin:tiny`, was
made so. Two losses are added: of masked tokens, and of all words of a text, which a second
decoder predicts from the state of [CLS]. Masked tokens alone do not train that
state.

Sources: Devlin et al. 2019, "BERT", section 3.1: 15 % of the tokens are predicted; of these
80 % are masked, 10 % replaced by a random token, and 10 % kept. Ma et al. 2024, "Drop your
Decoder": the words of a text; here each occurrence counts, and the decoder is a second one.
"""

import functools
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from mtra_jax import cli, files
from mtra_jax.data.built_in import synthetic
from mtra_jax.data.packed import packing
from mtra_jax.data.tokenizing import tokens
from mtra_jax.models import encoder, pretrained, safetensors_files

SEED = 0
NUM_TEXTS, NUM_HELD_OUT = 60_000, 2_000
VOCAB_SIZE, MAX_LENGTH = 1_000, 64
SIZES = {
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 512,
    "max_position_embeddings": MAX_LENGTH,
    # Dropout costs so narrow an encoder more than it gives in as few steps.
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
CARD = """\
# A tiny BERT of generated text

2 layers of width 128, with a tokenizer of its own. It knows nothing but the grammar of the benchmark `synthetic`. `scripts/pretrain_tiny.py --steps {steps}` made it, by
predicting masked tokens, and the words of a text from its first token, of {train:,} generated texts; no text of the
benchmark's tasks is among them. It predicts {accuracy:.1%} of the masked tokens of {held_out:,} other texts. The weights
are stored in float16.
"""
ROWS, LEARNING_RATE, WARM_UP = 64, 1e-3, 0.1
SHARE, MASKED, RANDOM = 0.15, 0.8, 0.1


class Rows(NamedTuple):
    """Packed texts: token ids, segments and positions, int32 [R, S] each."""

    tokens: np.ndarray
    segments: np.ndarray
    positions: np.ndarray


class Decoder(nn.Module):
    """Hidden states [N, H] -> scores of all tokens [N, V], by the word embeddings [V, H]."""

    epsilon: float

    @nn.compact
    def __call__(self, hidden: jax.Array, words: jax.Array) -> jax.Array:
        normal = nn.initializers.normal(0.02)
        hidden = nn.Dense(hidden.shape[-1], kernel_init=normal)(hidden)
        hidden = nn.LayerNorm(self.epsilon)(jax.nn.gelu(hidden, approximate=False))
        bias = self.param("bias", nn.initializers.zeros, words.shape[:1])
        return hidden @ words.T + bias


def main(arguments: Sequence[str]) -> None:
    parser = cli.Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--to", required=True, help="the directory to write")
    parser.add_argument("--steps", type=int, default=2_000)
    flags = cli.parse(parser, arguments)
    directory = cli.output_directory(flags.to)
    texts = unlabelled_texts()
    tokenizer = tokens.train_tokenizer(texts, VOCAB_SIZE)
    config = encoder.EncoderConfig(vocab_size=tokenizer.get_vocab_size(), **SIZES)
    train, held_out = texts[NUM_HELD_OUT:], texts[:NUM_HELD_OUT]
    params, accuracy = pretrain(
        config,
        pack(tokens.encode(tokenizer, train, MAX_LENGTH)),
        pack(tokens.encode(tokenizer, held_out, MAX_LENGTH)),
        mask=tokenizer.token_to_id("[MASK]"),
        num_steps=flags.steps,
    )
    directory.mkdir(parents=True, exist_ok=True)
    half = jax.tree.map(lambda leaf: np.asarray(leaf, np.float16), params)
    pretrained.save_encoder(directory, config, half)
    tokens.save_tokenizer(tokenizer, directory, MAX_LENGTH)
    write_card(directory, flags.steps, accuracy)
    size = (directory / safetensors_files.SINGLE).stat().st_size
    print(f"{size / 1e6:.2f} MB of weights in {directory}")


def unlabelled_texts() -> list[str]:
    """Texts of the grammar that occur in no task of the benchmark."""
    benchmark = synthetic.generate(seed=0)
    parts = (part for task in benchmark.values() for part in task.values())
    own = frozenset(text for part in parts for text in part.texts)
    return synthetic.unlabelled(NUM_TEXTS, SEED, own)


def pack(encoded: tokens.Tokens) -> Rows:
    """Packs all texts, in order, into rows of `MAX_LENGTH` tokens."""
    places = packing.first_fit_decreasing(encoded.lengths, MAX_LENGTH)
    rows = Rows(*np.zeros((3, places.num_rows, MAX_LENGTH), np.int32))
    counts = np.zeros(places.num_rows, np.int32)
    for text, (row, start) in enumerate(zip(places.rows, places.starts, strict=True)):
        first, last = encoded.offsets[text : text + 2]
        own = slice(start, start + last - first)
        counts[row] += 1
        rows.tokens[row, own] = encoded.ids[first:last]
        rows.segments[row, own] = counts[row]
        rows.positions[row, own] = np.arange(last - first)
    return rows


def batches(rows: Rows, num_steps: int) -> Iterator[Rows]:
    """Yields `num_steps` batches of `ROWS` rows in random order, epoch after epoch."""
    rng, order = np.random.default_rng(SEED), np.empty(0, np.int64)
    for _ in range(num_steps):
        if len(order) < ROWS:
            order = rng.permutation(len(rows.tokens))
        yield Rows(*(array[order[:ROWS]] for array in rows))
        order = order[ROWS:]


def pretrain(
    config: encoder.EncoderConfig,
    train: Rows,
    held_out: Rows,
    *,
    mask: int,
    num_steps: int,
) -> tuple[Any, float]:
    """Returns the encoder's parameters and the accuracy of held-out masked tokens.

    Prints loss and accuracy on the way.
    """
    network, decoder = encoder.Encoder(config), Decoder(config.layer_norm_eps)
    warm_up = round(WARM_UP * num_steps)
    rate = optax.warmup_cosine_decay_schedule(0, LEARNING_RATE, warm_up, num_steps)
    optimiser = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adamw(rate, weight_decay=0.01)
    )

    def loss(params: Any, rows: Rows, rng: jax.Array) -> tuple:
        inputs, chosen = corrupt(rows, rng, mask, config.vocab_size)
        hidden = network.apply(
            {"params": params["encoder"]},
            inputs,
            rows.segments,
            rows.positions,
            deterministic=True,  # the encoder has no dropout
        )
        words = params["encoder"]["embeddings"]["word_embeddings"]["embedding"]
        scores = decoder.apply({"params": params["decoder"]}, hidden, words)
        masked = cross_entropy(scores, rows.tokens, chosen)
        summary = first_states(hidden, rows.positions)
        scores_of_bag = decoder.apply({"params": params["bag"]}, summary, words)
        bag = cross_entropy(scores_of_bag, rows.tokens, is_word(rows))
        right = jnp.argmax(scores, axis=-1) == rows.tokens
        share = jnp.sum(right * chosen) / jnp.maximum(jnp.sum(chosen), 1)
        return masked + bag, (masked, bag, share)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def update(params: Any, state: Any, rows: Rows, rng: jax.Array) -> tuple:
        value_and_grad = jax.value_and_grad(loss, has_aux=True)
        (value, _), gradient = value_and_grad(params, rows, rng)
        updates, state = optimiser.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, value

    score = jax.jit(lambda params, rows: loss(params, rows, jax.random.key(1)))
    keys = jax.random.split(jax.random.key(SEED), num_steps + 3)
    words = jnp.zeros((config.vocab_size, config.hidden_size))
    params = {
        "encoder": pretrained.init_encoder(config, keys[0]),
        "decoder": decoder.init(keys[1], words[:1], words)["params"],
        "bag": decoder.init(keys[2], words[:1], words)["params"],
    }
    state, started = optimiser.init(params), time.monotonic()
    for step, rows in enumerate(batches(train, num_steps), 1):
        params, state, value = update(params, state, rows, keys[step + 2])
        if step % 500 == 0 or step == num_steps:
            masked, bag, accuracy = map(float, score(params, held_out)[1])
            print(
                f"step {step} of {num_steps}: loss {value:.3f}; held out: masked tokens "
                f"{masked:.3f} ({accuracy:.1%} right), words of the text {bag:.3f}; "
                f"{time.monotonic() - started:.0f} s",
                flush=True,
            )
    return jax.device_get(params["encoder"]), accuracy


def cross_entropy(scores: jax.Array, ids: jax.Array, where: jax.Array) -> jax.Array:
    """The mean over the positions `where` [R, S] of the cross-entropy of `ids` [R, S]."""
    losses = optax.softmax_cross_entropy_with_integer_labels(scores, ids)
    return jnp.sum(losses * where) / jnp.maximum(jnp.sum(where), 1)


def first_states(hidden: jax.Array, positions: jax.Array) -> jax.Array:
    """[R, S, H] -> for each token, the state of the first token of its text."""
    first = jnp.arange(hidden.shape[1]) - positions
    return jnp.take_along_axis(hidden, first[..., None], axis=1)


def is_word(rows: Rows) -> jax.Array:
    """bool [R, S]: neither padding nor a special token."""
    return (rows.segments > 0) & (rows.tokens >= len(tokens.SPECIAL_TOKENS))


def write_card(directory: Path, num_steps: int, accuracy: float) -> None:
    """Writes README.md: what the encoder is, and how well it predicts masked tokens."""
    files.write_text(
        directory / "README.md",
        CARD.format(
            train=NUM_TEXTS - NUM_HELD_OUT,
            held_out=NUM_HELD_OUT,
            steps=num_steps,
            accuracy=accuracy,
        ),
    )


def corrupt(
    rows: Rows, rng: jax.Array, mask: int, vocab_size: int
) -> tuple[jax.Array, jax.Array]:
    """Returns corrupted tokens and the mask of those to predict; special tokens stay."""
    keys = jax.random.split(rng, 3)
    chosen = is_word(rows) & jax.random.bernoulli(keys[0], SHARE, rows.tokens.shape)
    kind = jax.random.uniform(keys[1], rows.tokens.shape)
    low = len(tokens.SPECIAL_TOKENS)
    others = jax.random.randint(keys[2], rows.tokens.shape, low, vocab_size)
    inputs = jnp.where(chosen & (kind < MASKED), mask, rows.tokens)
    is_random = chosen & (kind >= MASKED) & (kind < MASKED + RANDOM)
    return jnp.where(is_random, others, inputs), chosen


if __name__ == "__main__":
    cli.run(main)
