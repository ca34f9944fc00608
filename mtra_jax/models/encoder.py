"""Packed token ids -> hidden states of a BERT or RoBERTa encoder."""

import dataclasses
import difflib
import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from mtra_jax.errors import InputError, shown
from mtra_jax.models import stacked
from mtra_jax.models.activations import ACTIVATIONS
from mtra_jax.models.attention import Attention
from mtra_jax.models.dropout import dropout
from mtra_jax.models.network import Network
from mtra_jax.models.norm import Norm
from mtra_jax.types import Params

DROPOUTS = 3
"""Number of dropouts in a layer: on the attention weights, and after each half."""
# The last three have RoBERTa's architecture.
MODEL_TYPES = ("bert", "roberta", "xlm-roberta", "camembert")


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
    """Type and sizes of an encoder, with the field names and defaults of `config.json`.

    Raises:
        InputError: a type or activation is unknown, a number is out of its range, the
            heads do not divide the width, or no position is left for tokens.
    """

    model_type: str = "bert"
    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    pad_token_id: int = 0
    layer_norm_eps: float = 1e-12
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    initializer_range: float = 0.02
    hidden_act: str = "gelu"

    def __post_init__(self) -> None:
        check_model_type(self.model_type)
        if self.hidden_act not in ACTIVATIONS:
            # No suggestion: elu, prelu and geglu are other functions, not typos.
            raise InputError(
                f"hidden_act is {shown(self.hidden_act)}, which is not supported; "
                f"known: {', '.join(ACTIVATIONS)}"
            )
        for field in dataclasses.fields(self):
            if field.type is not str:
                _check_number(field.name, getattr(self, field.name), field.type)
        if self.hidden_size % self.num_attention_heads:
            raise InputError(
                f"hidden_size {self.hidden_size} is not a multiple of "
                f"num_attention_heads {self.num_attention_heads}"
            )
        if not 0 <= self.pad_token_id < self.vocab_size:
            raise InputError(
                f"pad_token_id {self.pad_token_id} is not in [0, {self.vocab_size})"
            )
        if self.max_length < 1:
            raise InputError(
                f"max_position_embeddings {self.max_position_embeddings} leaves no "
                f"position for a token after the offset {self.position_offset}"
            )

    @property
    def position_offset(self) -> int:
        """The row of the position table for the first token of a text."""
        return 0 if self.model_type == "bert" else self.pad_token_id + 1

    @property
    def max_length(self) -> int:
        """The largest number of tokens of a text, special tokens included."""
        return self.max_position_embeddings - self.position_offset


def check_model_type(name: object) -> None:
    """Raises InputError if `name` is not one of `MODEL_TYPES`."""
    if name in MODEL_TYPES:
        return
    names = ", ".join(MODEL_TYPES)
    fault = f"this architecture is not supported; known: {names}"
    if isinstance(name, str) and not any(one in name for one in MODEL_TYPES):
        # The cutoff admits only typos: ibert and modernbert are other architectures.
        near = difflib.get_close_matches(name[:20], MODEL_TYPES, n=1, cutoff=0.85)
        fault = f"did you mean {near[0]}? known: {names}" if near else fault
    raise InputError(f"model_type is {shown(name)}; {fault}")


def _check_number(key: str, value: float, kind: object) -> None:
    if key == "pad_token_id":
        return
    if kind is int and value < 1:
        raise InputError(f"{key} is {value}; expected at least 1")
    if key.endswith("dropout_prob") and not 0 <= value < 1:
        raise InputError(f"{key} is {value}; expected a rate in [0, 1)")
    if kind is float and not (math.isfinite(value) and value >= 0):
        raise InputError(f"{key} is {value}; expected a finite number, 0 or more")


def _dense(config: EncoderConfig, width: int, dtype: Any, name: str) -> nn.Dense:
    normal = nn.initializers.normal(config.initializer_range)
    return nn.Dense(width, dtype=dtype, kernel_init=normal, name=name)


def _norm(config: EncoderConfig, dtype: Any, merged: bool, name: str) -> Norm:
    return Norm(config.layer_norm_eps, dtype, merged, name=name)


class Embeddings(nn.Module):
    """The normalised sum of word, position and type rows: ids [R, S] -> [R, S, H]."""

    config: EncoderConfig
    dtype: Any = jnp.float32
    merged: bool = False

    @nn.compact
    def __call__(
        self,
        tokens: jax.Array,
        positions: jax.Array,
        key: jax.Array | None = None,
        types: jax.Array | None = None,
    ) -> jax.Array:
        """Returns states [R, S, H]. `key`: for the dropout; None disables it.

        `types`: of the tokens, int32 [R, S]; None if all are 0.
        """
        config = self.config
        # No dtype: lookups and the sums of their gradients have the table's precision.
        # In bfloat16 the sums over frequent tokens would be too coarse.
        table = functools.partial(
            nn.Embed,
            features=config.hidden_size,
            embedding_init=nn.initializers.normal(config.initializer_range),
        )
        words = table(config.vocab_size, name="word_embeddings")
        places = table(config.max_position_embeddings, name="position_embeddings")
        kinds = table(config.type_vocab_size, name="token_type_embeddings")
        hidden = words(tokens) + places(positions + config.position_offset)
        hidden += kinds.embedding[0] if types is None else kinds(types)
        hidden = _norm(config, self.dtype, self.merged, "norm")(hidden)
        return dropout(hidden, key, config.hidden_dropout_prob)


class Layer(nn.Module):
    """One Transformer layer, each half normalised after its residual sum."""

    config: EncoderConfig
    dtype: Any = jnp.float32
    merged: bool = False

    @nn.compact
    def __call__(
        self,
        hidden: jax.Array,
        same_text: jax.Array,
        keys: jax.Array | None = None,
        wanted: jax.Array | None = None,
    ) -> jax.Array:
        """Returns all new states [R, S, H], or [B, 1, H] for the tokens at `wanted` [B].

        `keys` [`DROPOUTS`]: for the dropout; None disables it.
        """
        config, dtype = self.config, self.dtype
        rate = config.hidden_dropout_prob

        def key(place: int) -> jax.Array | None:
            return None if keys is None else keys[place]

        asking, rows = hidden, None
        if wanted is not None:
            length = hidden.shape[1]
            asking = first_tokens(hidden, wanted)[:, None]
            same_text = same_text.reshape(-1, length)[wanted][:, None]
            rows = wanted // length
        attention = Attention(
            config.num_attention_heads,
            config.attention_probs_dropout_prob,
            nn.initializers.normal(config.initializer_range),
            dtype,
            self.merged,
            name="attention",
        )
        mixed = attention(asking, hidden, same_text, rows, key(0))
        hidden = asking + dropout(mixed, key(1), rate)
        hidden = _norm(config, dtype, self.merged, "attention_norm")(hidden)
        inner = _dense(config, config.intermediate_size, dtype, "intermediate")(hidden)
        inner = ACTIVATIONS[config.hidden_act](inner)
        outer = _dense(config, config.hidden_size, dtype, "output")(inner)
        hidden = hidden + dropout(outer, key(2), rate)
        return _norm(config, dtype, self.merged, "output_norm")(hidden)


class Encoder(nn.Module):
    """BERT or RoBERTa without a pooler, over rows that hold several texts each.

    `dtype`: the precision of the computation, not of the parameters. Softmax and the
    statistics of the norms are in at least float32. With `deterministic=False` the
    dropout masks come from the random stream "dropout".

    The parameters of the N layers are one tree, `layers`, of arrays [N, ...]. With
    `unroll` all layers but the last run in a loop with that many layers per iteration;
    None means no loop. A loop compiles faster and runs slower: MTRA's step of RoBERTa-base
    on an H100 compiled in 31 s instead of 47 s with one layer per iteration, and took
    27.7 ms instead of 21.3 ms (see `scripts/benchmarking/README.md`). `mean_axis`: see
    `stacked.Loop`.

    `merged` computes the same with fewer kernels and less memory traffic on a GPU: queries,
    keys and values in one product, norms with the backward pass of `norm.normalise`. On a
    CPU such steps are slower, see `scripts/benchmarking/README.md`.

    Source: Devlin et al. 2019, "BERT"; Liu et al. 2019, "RoBERTa".
    """

    config: EncoderConfig
    dtype: Any = jnp.float32
    unroll: int | None = None
    mean_axis: str | None = None
    merged: bool = False

    @nn.compact
    def __call__(
        self,
        tokens: jax.Array,
        segments: jax.Array,
        positions: jax.Array,
        wanted: jax.Array | None = None,
        *,
        types: jax.Array | None = None,
        deterministic: bool,
    ) -> jax.Array:
        """Returns the last hidden states [R, S, H] of R rows of S tokens.

        `tokens`: ids, int32 [R, S]. `segments`: int32 [R, S], the same positive number
        on all tokens of a text, 0 on padding. `positions`: int32 [R, S], from 0 in each
        text, less than `config.max_length`. `types`: int32 [R, S]; None if all are 0.
        States at padding are finite and arbitrary.

        `wanted`: int32 [B], indices of tokens in the flattened [R * S]. With it only their
        states [B, H] are returned, and the last layer computes only keys and values for
        all tokens.

        Raises:
          ValueError: `tokens`, `segments`, `positions` and `types` differ in shape.
        """
        if not tokens.shape == segments.shape == positions.shape:
            raise ValueError(
                "`tokens`, `segments` and `positions` must have one shape [R, S]; "
                f"found {tokens.shape}, {segments.shape} and {positions.shape}."
            )
        if types is not None and types.shape != tokens.shape:
            raise ValueError(
                f"`types` must have the shape {tokens.shape}; found {types.shape}."
            )
        depth, first_key, keys = self.config.num_hidden_layers, None, None
        if not deterministic:
            # One call of the generator; many small calls are slow on accelerators.
            keys = jax.random.split(self.make_rng("dropout"), 1 + depth * DROPOUTS)
            first_key, keys = keys[0], keys[1:].reshape(depth, DROPOUTS)
        config, dtype, merged = self.config, self.dtype, self.merged
        embeddings = Embeddings(config, dtype, merged, name="embeddings")
        hidden = embeddings(tokens, positions, first_key, types)
        same_text = jnp.equal(segments[:, :, None], segments[:, None, :])
        # Not a submodule, which would own the parameters of a single layer.
        layer: Network = Layer(config, dtype, merged, parent=None, name="layer")

        def new_layers(rng: jax.Array) -> Params:
            def new_layer(rng: jax.Array) -> Params:
                return layer.init(rng, hidden, same_text)["params"]

            return jax.vmap(new_layer)(jax.random.split(rng, depth))

        def apply(
            given: tuple, hidden: jax.Array, wanted: jax.Array | None = None
        ) -> jax.Array:
            params, keys = given
            return layer.apply({"params": params}, hidden, same_text, keys, wanted)

        if self.is_initializing():
            self.param("layers", new_layers)
        # `self.param` would trace `new_layers` again to compare shapes.
        layers = self.variables["params"]["layers"], keys
        loop = stacked.Loop(depth, self.unroll or depth, self.mean_axis)
        hidden = stacked.apply(apply, layers, hidden, wanted, loop)
        return hidden if wanted is None else hidden[:, 0]


def first_tokens(hidden: jax.Array, index: jax.Array) -> jax.Array:
    """Returns the states [B, H] of the texts' first tokens.

    `hidden`: [R, S, H]. `index`: int32 [B], indices in the flattened [R * S].
    """
    return hidden.reshape(-1, hidden.shape[-1])[index]
