"""The encoder against PyTorch's BERT and RoBERTa, and against itself unpacked."""

import contextlib
import dataclasses
import functools
import itertools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiers import NIGHTLY_ONLY, rest_nightly

from mtra_jax.errors import InputError
from mtra_jax.models import attention, encoder
from mtra_jax.models.encoder import (
    DROPOUTS,
    Embeddings,
    Encoder,
    EncoderConfig,
    Layer,
    first_tokens,
)
from mtra_jax.models.pretrained import from_huggingface, init_encoder, load_encoder

SMALL = EncoderConfig(
    vocab_size=50,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=24,
    max_position_embeddings=32,
    initializer_range=0.3,
)
DEEP = dataclasses.replace(SMALL, num_hidden_layers=4)
# Layers per iteration: a loop of three, of one and a rest of one, and no loop.
UNROLL = [1, 2, None]
ACTIVATIONS = ("gelu", "gelu_new", "relu", "gelu_python", "swish", "quick_gelu")


def pack(texts, length):
    """Fills rows in order: tokens, segments, positions [R, S], first tokens [B]."""
    rows, index = [[]], []
    for number, text in enumerate(texts, start=1):
        if len(rows[-1]) + len(text) > length:
            rows.append([])
        index.append((len(rows) - 1) * length + len(rows[-1]))
        rows[-1] += [(token, number, at) for at, token in enumerate(text)]
    packed = np.zeros((3, len(rows), length), np.int32)
    for row, content in enumerate(rows):
        packed[:, row, : len(content)] = np.array(content).T
    return (*packed, np.array(index, np.int32))


@functools.partial(jax.jit, static_argnums=(0, 5), static_argnames="unroll")
def apply(
    config,
    params,
    tokens,
    segments,
    positions,
    dtype=jnp.float32,
    key=None,
    unroll=None,
    types=None,
):
    """Hidden states [R, S, H], with dropout if a key is given."""
    return Encoder(config, dtype, unroll).apply(
        {"params": params},
        tokens,
        segments,
        positions,
        types=types,
        deterministic=key is None,
        rngs=None if key is None else {"dropout": key},
    )


def hidden_of_texts(
    config, params, texts, length, dtype=jnp.float32, unroll=None, types=None
):
    """The hidden states of each text, [tokens, H], from rows of `length`."""
    *packed, index = pack(texts, length)
    types = None if types is None else pack(types, length)[0]
    hidden = apply(config, params, *packed, dtype, unroll=unroll, types=types)
    hidden = np.asarray(hidden).reshape(-1, config.hidden_size)
    return [
        hidden[start : start + len(text)]
        for start, text in zip(index, texts, strict=True)
    ]


def largest_difference(actual, expected):
    return max(np.abs(a - b).max() for a, b in zip(actual, expected, strict=True))


def some_texts(lengths, vocabulary=50, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(2, vocabulary, length).tolist() for length in lengths]


def random_params(config, seed=0):
    """Parameters different from 0 and 1, so that each affects the result."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        around = 1 if path[-1].key == "scale" else 0
        return around + 0.3 * rng.standard_normal(leaf.shape, np.float32)

    shapes = jax.eval_shape(functools.partial(init_encoder, config), jax.random.key(0))
    return jax.tree.map_with_path(draw, shapes)


@contextlib.contextmanager
def recorded_dropout():
    """Collects (rate, inputs, outputs) of each dropout that is traced."""
    calls = []
    dropout = encoder.dropout

    def record(inputs, key, rate):
        outputs = dropout(inputs, key, rate)
        calls.append((rate, inputs, outputs))
        return outputs

    with pytest.MonkeyPatch.context() as patch:
        for module in (attention, encoder):
            patch.setattr(module, "dropout", record)
        yield calls


@pytest.fixture(scope="module")
def small():
    return random_params(SMALL)


@pytest.fixture(scope="module")
def oracle():
    with np.load(Path(__file__).with_name("oracle_encoder.npz")) as arrays:
        return dict(arrays)


def read_oracle(oracle, kind):
    def under(part):
        prefix = f"{kind}/{part}/"
        return {
            name.removeprefix(prefix): value
            for name, value in oracle.items()
            if name.startswith(prefix)
        }

    config = EncoderConfig(**json.loads(str(oracle[f"{kind}/config"])))
    texts = [value.tolist() for value in under("ids").values()]
    return config, under("weights"), texts, list(under("hidden").values())


@pytest.mark.parametrize("kind", ["bert", "roberta"])
@pytest.mark.parametrize(
    ("precision", "tolerance"), [("float32", 2e-5), ("float64", 1e-12)]
)
def test_hidden_states_equal_those_stored_from_pytorch(
    oracle, kind, precision, tolerance
):
    config, weights, texts, expected = read_oracle(oracle, kind)
    with jax.enable_x64(precision == "float64"):
        weights = {name: value.astype(precision) for name, value in weights.items()}
        params = from_huggingface(weights, config)
        actual = hidden_of_texts(config, params, texts, 20, jnp.dtype(precision))
    assert actual[0].dtype == precision
    difference = largest_difference(actual, expected)
    print(f"{kind} {precision}: largest difference {difference:.2e}")
    assert difference <= tolerance


def torch_hidden(model, texts, types=None):
    """PyTorch's hidden states, with the texts padded to one length."""
    import torch

    width = max(map(len, texts))
    ids = np.full((len(texts), width), model.config.pad_token_id)
    kinds = np.zeros_like(ids)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = text
        kinds[row, : len(text)] = types[row] if types else 0
    mask = torch.tensor(np.arange(width) < np.array([[len(text)] for text in texts]))
    inputs = torch.tensor(ids), mask.long(), torch.tensor(kinds)
    with torch.no_grad():
        hidden = model(*inputs).last_hidden_state.numpy()
    return [row[: len(text)] for row, text in zip(hidden, texts, strict=True)]


@pytest.mark.torch
@pytest.mark.parametrize(
    ("kind", "activation", "unroll"),
    [
        *[("bert", activation, None) for activation in ACTIVATIONS],
        *[(kind, "gelu", None) for kind in ("roberta", "xlm-roberta", "camembert")],
        # The loop over the layers does not depend on what they are.
        *[("bert", "gelu", unroll) for unroll in UNROLL if unroll],
    ],
)
def test_hidden_states_equal_those_of_a_random_pytorch_checkpoint(
    tmp_path, kind, activation, unroll
):
    torch = pytest.importorskip("torch")
    from transformers import AutoConfig, AutoModel

    torch.manual_seed(1)
    sizes = dataclasses.asdict(DEEP)
    for key in ("model_type", "pad_token_id", "layer_norm_eps", "hidden_act"):
        del sizes[key]
    sizes["max_position_embeddings"] = 40
    config = AutoConfig.for_model(
        kind, **sizes, layer_norm_eps=1e-3, hidden_act=activation
    )
    model = AutoModel.from_config(config, attn_implementation="eager").eval()
    model.save_pretrained(tmp_path)
    texts = some_texts([30, 1, 5, 17, 9, 30, 2, 2])
    read, params = load_encoder(tmp_path)
    assert read.model_type == kind
    actual = hidden_of_texts(read, params, texts, 32, unroll=unroll)
    difference = largest_difference(actual, torch_hidden(model, texts))
    print(f"{kind} {activation}: largest difference {difference:.2e}")
    assert difference <= 1e-4


@pytest.mark.torch
@pytest.mark.shared
def test_hidden_states_equal_those_of_the_real_weights_in_pytorch(minilm):
    torch = pytest.importorskip("torch")
    from tokenizers import Tokenizer
    from transformers import AutoModel

    tokenizer = Tokenizer.from_file(str(minilm / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    lines = [
        "ok",
        "So proud of the whole team today!!! #blessed",
        "@user I can't believe you'd say that... really?",
        "Ça va être génial, 日本 🎉🎉 http://t.co/xyz",
        "Great, another Monday. Just what I needed.",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa hmmm",
        "Nobody expected the committee to vote the other way, and yet it did. " * 9,
        "word " * 510,
    ]
    texts = [encoding.ids for encoding in tokenizer.encode_batch(lines)]
    assert max(map(len, texts)) == 512
    model = AutoModel.from_pretrained(
        minilm, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    config, params = load_encoder(minilm)
    actual = hidden_of_texts(config, params, texts, 512)
    difference = largest_difference(actual, torch_hidden(model, texts))
    print(f"MiniLM: largest difference {difference:.2e}")
    assert difference <= 1e-4


@pytest.mark.torch
@pytest.mark.shared
def test_hidden_states_of_pairs_equal_those_of_the_real_weights_in_pytorch(minilm):
    torch = pytest.importorskip("torch")
    from tokenizers import Tokenizer
    from transformers import AutoModel

    tokenizer = Tokenizer.from_file(str(minilm / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    pairs = [
        ("A man inspects a uniform.", "The man is sleeping."),
        ("An older and a younger man smiling.", "Two men are smiling at the cats."),
        ("ok", ""),
        ("", "Ça va être génial, 日本"),
        ("word " * 20, "other " * 30),
    ]
    encoded = tokenizer.encode_batch(pairs)
    texts, types = [e.ids for e in encoded], [e.type_ids for e in encoded]
    model = AutoModel.from_pretrained(
        minilm, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    config, params = load_encoder(minilm)
    actual = hidden_of_texts(config, params, texts, 64, types=types)
    expected = torch_hidden(model, texts, types)
    assert largest_difference(torch_hidden(model, texts), expected) > 0.1
    difference = largest_difference(actual, expected)
    print(f"MiniLM on pairs: largest difference {difference:.2e}")
    assert difference <= 1e-4


@pytest.mark.parametrize("kind", ["bert", "roberta"])
@pytest.mark.parametrize("unroll", UNROLL)
def test_packed_rows_equal_one_text_per_row(kind, unroll):
    config = dataclasses.replace(DEEP, model_type=kind, pad_token_id=1)
    params = random_params(config)
    texts = some_texts([9, 1, 14, 3, 20, 6, 6, 2, 30])
    rng = np.random.default_rng(1)
    types = [rng.integers(0, 2, len(text)).tolist() for text in texts]
    packed = hidden_of_texts(config, params, texts, 30, unroll=unroll, types=types)
    arrays = np.concatenate([pack([text], 30)[:3] for text in texts], axis=1)
    own = np.concatenate([pack([one], 30)[0] for one in types])
    rows = np.asarray(apply(config, params, *arrays, unroll=unroll, types=own))
    apart = [row[: len(text)] for row, text in zip(rows, texts, strict=True)]
    assert largest_difference(packed, apart) <= 1e-5


def test_without_types_all_are_0(small):
    arrays = pack(some_texts([5, 3, 11]), 12)[:3]
    expected = apply(SMALL, small, *arrays)
    types = np.zeros_like(arrays[0])
    np.testing.assert_array_equal(apply(SMALL, small, *arrays, types=types), expected)
    types[0, 4] = 1
    changed = np.any(apply(SMALL, small, *arrays, types=types) != expected, axis=2)
    assert changed.tolist() == (arrays[1] == arrays[1][0, 4]).tolist()


def test_the_content_of_padding_changes_nothing(small):
    tokens, segments, positions, _ = pack(some_texts([5, 3, 11]), 12)
    real = segments > 0
    expected = apply(SMALL, small, tokens, segments, positions)
    rng = np.random.default_rng(3)
    other_tokens = np.where(real, tokens, rng.integers(0, 50, tokens.shape))
    other_positions = np.where(real, positions, rng.integers(0, 32, tokens.shape))
    actual = apply(SMALL, small, other_tokens, segments, other_positions)
    np.testing.assert_array_equal(actual[real], expected[real])
    assert not np.array_equal(actual[~real], expected[~real])


def test_first_tokens_are_those_of_each_text(small):
    texts = some_texts([4, 7, 2, 9])
    tokens, segments, positions, index = pack(texts, 12)
    hidden = apply(SMALL, small, tokens, segments, positions)
    expected = [rows[0] for rows in hidden_of_texts(SMALL, small, texts, 12)]
    np.testing.assert_array_equal(first_tokens(hidden, index), expected)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_the_last_layer_of_some_tokens_alone_equals_that_of_all(kind):
    """Values, and the gradients of everything below, in float64."""
    config = dataclasses.replace(SMALL, model_type=kind, pad_token_id=1)
    *packed, index = pack(some_texts([4, 7, 2, 9, 12]), 12)
    with jax.enable_x64(True):
        params = jax.tree.map(np.float64, random_params(config))
        weights = np.random.default_rng(1).normal(size=(5, SMALL.hidden_size))

        def states(params, wanted):
            hidden = Encoder(config, jnp.float64).apply(
                {"params": params}, *packed, wanted, deterministic=True
            )
            return hidden if wanted is not None else first_tokens(hidden, index)

        def value(params, wanted):
            actual = states(params, wanted)
            return jnp.sum(weights * actual), actual

        grad = jax.jit(jax.grad(value, has_aux=True))
        expected_grads, expected = grad(params, None)
        grads, actual = grad(params, index)
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-10),
        grads,
        expected_grads,
    )


def by_a_loop(config, params, dtype, tokens, segments, positions, wanted, key):
    """The encoder as a plain loop over the layers."""
    keys = [None] * (1 + config.num_hidden_layers)
    if key is not None:
        key = Encoder(config).bind({}, rngs={"dropout": key}).make_rng("dropout")
        keys = jax.random.split(key, 1 + config.num_hidden_layers * DROPOUTS)
        keys = [keys[0], *keys[1:].reshape(config.num_hidden_layers, DROPOUTS)]
    hidden = Embeddings(config, dtype).apply(
        {"params": params["embeddings"]}, tokens, positions, keys[0]
    )
    same_text = segments[:, :, None] == segments[:, None, :]
    leaves, structure = jax.tree.flatten(params["layers"])
    for index in range(config.num_hidden_layers):
        is_last = index == config.num_hidden_layers - 1
        hidden = Layer(config, dtype).apply(
            {"params": structure.unflatten([leaf[index] for leaf in leaves])},
            hidden,
            same_text,
            keys[1 + index],
            wanted if is_last else None,
        )
    return hidden if wanted is None else hidden[:, 0]


STACKS = ((1, True, True), (2, False, False), (4, True, True))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("depth", "has_wanted", "has_dropout"),
    [
        pytest.param(*case, marks=[] if case in STACKS else NIGHTLY_ONLY)
        for case in itertools.product((1, 2, 4), (False, True), (False, True))
    ],
)
@pytest.mark.parametrize("unroll", UNROLL)
def test_stacked_layers_equal_a_loop_over_them(unroll, depth, has_wanted, has_dropout):
    """Values and gradients in float64, the dropout of each layer included."""
    config = dataclasses.replace(SMALL, num_hidden_layers=depth)
    *packed, index = pack(some_texts([4, 7, 2, 9, 12]), 12)
    wanted = index if has_wanted else None
    key = jax.random.key(7) if has_dropout else None
    with jax.enable_x64(True):
        params = jax.tree.map(np.float64, random_params(config))
        shape = (5, 16) if has_wanted else (*packed[0].shape, 16)
        weights = np.random.default_rng(1).normal(size=shape)

        def stacked(params):
            hidden = Encoder(config, jnp.float64, unroll).apply(
                {"params": params},
                *packed,
                wanted,
                deterministic=key is None,
                rngs=None if key is None else {"dropout": key},
            )
            return jnp.sum(weights * hidden), hidden

        def looped(params):
            hidden = by_a_loop(config, params, jnp.float64, *packed, wanted, key)
            return jnp.sum(weights * hidden), hidden

        expected_grads, expected = jax.jit(jax.grad(looped, has_aux=True))(params)
        grads, actual = jax.jit(jax.grad(stacked, has_aux=True))(params)
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-10),
        grads,
        expected_grads,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("unroll", "has_dropout"),
    rest_nightly(
        itertools.product(UNROLL, (False, True)), [(1, False), (2, True), (None, True)]
    ),
)
def test_merged_kernels_compute_the_same_states_and_gradients(unroll, has_dropout):
    tokens, segments, positions, first = pack(some_texts([9, 4, 12, 7]), 16)
    key = jax.random.key(3) if has_dropout else None

    def loss(params, merged):
        model = Encoder(DEEP, jnp.float64, unroll, merged=merged)
        hidden = model.apply(
            {"params": params},
            tokens,
            segments,
            positions,
            first,
            deterministic=key is None,
            rngs=None if key is None else {"dropout": key},
        )
        return jnp.sum(hidden**3), hidden

    with jax.enable_x64(True):
        params = jax.tree.map(np.float64, random_params(DEEP))
        calculate = jax.jit(jax.grad(loss, has_aux=True), static_argnums=1)
        separate, merged = calculate(params, False), calculate(params, True)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-9),
        merged,
        separate,
    )


@pytest.mark.parametrize(("unroll", "loops"), [(1, 1), (2, 1), (3, 0), (9, 0)])
def test_a_loop_runs_where_it_has_more_than_one_iteration(unroll, loops):
    rows = pack(some_texts([4, 7]), 12)[:3]
    params = random_params(DEEP)
    traced = jax.make_jaxpr(functools.partial(apply, DEEP, unroll=unroll))(
        params, *rows
    )
    assert str(traced).count("= scan[") == loops
    assert f"unroll={unroll}" in str(traced) or not loops


def test_each_layer_starts_from_its_own_values():
    params = init_encoder(DEEP, jax.random.key(0))
    kernels = np.asarray(params["layers"]["attention"]["query"]["kernel"])
    assert kernels.shape == (4, 16, 16)
    for index, kernel in enumerate(kernels):
        assert abs(kernel.std() - DEEP.initializer_range) < 0.05
        assert all((kernel != other).any() for other in kernels[:index])


@pytest.mark.parametrize("deterministic", [True, False])
def test_bfloat16_computation_is_bfloat16_throughout(small, deterministic):
    arrays = pack(some_texts([9, 4, 12]), 16)[:3]
    with recorded_dropout() as calls:
        hidden = jax.eval_shape(
            lambda key: Encoder(SMALL, jnp.bfloat16).apply(
                {"params": small},
                *arrays,
                deterministic=deterministic,
                rngs={"dropout": key},
            ),
            jax.random.key(0),
        )
    assert hidden.dtype == jnp.bfloat16
    # States, attention weights (after a softmax in float32) and both sub-layers.
    assert [inputs.dtype for _, inputs, _ in calls] == [jnp.bfloat16] * 7
    assert [outputs.dtype for _, _, outputs in calls] == [jnp.bfloat16] * 7


@pytest.mark.slow
@pytest.mark.parametrize("unroll", UNROLL)
def test_bfloat16_computation_is_near_float32(unroll):
    arrays = pack(some_texts([9, 4, 12]), 16)
    params = random_params(DEEP)
    narrow = apply(DEEP, params, *arrays[:3], jnp.bfloat16, unroll=unroll)
    wide = apply(DEEP, params, *arrays[:3], unroll=unroll)
    error = np.abs(narrow.astype(jnp.float32) - wide)[arrays[1] > 0]
    # States are of size 1; bfloat16 has 8 bits: 2^-8 for each of some ten roundings.
    assert 1e-4 < error.mean() < 10 * 2**-8


def test_the_variance_keeps_its_digits_beside_a_large_mean(small):
    """E[x^2] - E[x]^2 in float32 would lose a tenth of the variance here."""
    params = jax.tree.map(np.copy, small["embeddings"])
    params["word_embeddings"]["embedding"] += 300
    tokens = np.arange(20, dtype=np.int32)[None]

    def states(params, dtype):
        return Embeddings(SMALL, dtype).apply({"params": params}, tokens, tokens)

    actual = states(params, jnp.float32)
    with jax.enable_x64(True):
        expected = states(jax.tree.map(np.float64, params), jnp.float64)
    # A float32 near 300 is exact to 2^-16, and the deviations are about 0.5.
    np.testing.assert_allclose(actual, expected, atol=5 * 2**-15)


def test_a_frequent_word_keeps_its_gradient_in_bfloat16(small):
    """Summed in bfloat16, 3000 gradients of one word would stop near the 256th."""
    tokens = np.full((100, 30), 7, np.int32)
    positions = np.arange(30, dtype=np.int32) + 0 * tokens
    cotangent = np.random.default_rng(0).standard_normal((100, 30, 16), np.float32) + 1

    @functools.partial(jax.jit, static_argnums=1)
    def word_gradient(params, dtype):
        def loss(params):
            hidden = Embeddings(SMALL, dtype).apply(
                {"params": params}, tokens, positions
            )
            return jnp.sum(hidden.astype(jnp.float32) * cotangent)

        return jax.grad(loss)(params)["word_embeddings"]["embedding"][7]

    narrow = word_gradient(small["embeddings"], jnp.bfloat16)
    wide = word_gradient(small["embeddings"], jnp.float32)
    assert narrow.dtype == jnp.float32
    assert np.linalg.norm(narrow - wide) < 0.01 * np.linalg.norm(wide)


def test_rows_of_padding_keep_the_gradients_finite_and_add_nothing(small):
    tokens, segments, positions = np.pad(
        np.array(pack(some_texts([6, 3, 8]), 10)[:3]), [(0, 0), (0, 2), (0, 0)]
    )
    real = segments > 0
    assert (~real).all(axis=1).sum() == 2

    @jax.jit
    def gradient(tokens, cotangent):
        def loss(params):
            hidden = apply(SMALL, params, tokens, segments, positions)
            return jnp.sum(hidden * cotangent)

        return jax.grad(loss)(small)

    cotangent = np.random.default_rng(0).standard_normal((*real.shape, 16), np.float32)
    grads = gradient(tokens, cotangent)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))
    of_texts = gradient(tokens, cotangent * real[..., None])
    others = gradient(np.where(real, tokens, 9), cotangent * real[..., None])
    jax.tree.map(np.testing.assert_array_equal, of_texts, others)
    assert not of_texts["embeddings"]["word_embeddings"]["embedding"][0].any()
    assert of_texts["layers"]["attention"]["query"]["kernel"][0].any()


def test_dropout_acts_where_bert_has_it_with_the_rates_of_the_configuration():
    config = dataclasses.replace(
        SMALL,
        num_hidden_layers=1,
        hidden_dropout_prob=0.2,
        attention_probs_dropout_prob=0.4,
    )
    params = random_params(config)
    arrays = pack(some_texts([30] * 12), 30)[:3]

    @jax.jit
    def dropouts():
        with recorded_dropout() as calls:
            Encoder(config).apply(
                {"params": params},
                *arrays,
                deterministic=False,
                rngs={"dropout": jax.random.key(5)},
            )
        return calls

    calls = [(float(rate), *map(np.asarray, rest)) for rate, *rest in dropouts()]
    hidden, probabilities = (12, 30, 16), (12, 4, 30, 30)
    traced = [(round(rate, 6), inputs.shape) for rate, inputs, _ in calls]
    assert traced == [(0.2, hidden), (0.4, probabilities), (0.2, hidden), (0.2, hidden)]
    for rate, inputs, outputs in calls:
        dropped = outputs == 0
        deviation = (rate * (1 - rate) / dropped.size) ** 0.5
        assert abs(dropped.mean() - rate) < 4 * deviation
        # XLA may compute the input once for its record and once for its use: entries near
        # 0 differ by the rounding of the terms that they are sums of.
        rounding = 2.0**-24 * np.abs(inputs).max()
        np.testing.assert_allclose(
            outputs[~dropped], inputs[~dropped] / (1 - rate), rtol=1e-6, atol=rounding
        )
    masks = [outputs == 0 for _, _, outputs in calls]
    for index, mask in enumerate(masks):
        for other in masks[:index]:
            assert mask.shape != other.shape or (mask != other).mean() > 0.2


def test_dropout_follows_its_key_and_the_deterministic_flag():
    config = dataclasses.replace(SMALL, num_hidden_layers=1)
    params = random_params(config)
    arrays = pack(some_texts([30, 12]), 30)[:3]
    states = [
        apply(config, params, *arrays, key=jax.random.key(seed)) for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(states[0], states[1])
    assert (states[0] != states[2]).mean() > 0.9
    plain = apply(config, params, *arrays)
    assert (states[0] != plain).mean() > 0.9
    idle = jax.jit(functools.partial(Encoder(config).apply, deterministic=True))
    keyed = idle({"params": params}, *arrays, rngs={"dropout": jax.random.key(1)})
    np.testing.assert_array_equal(keyed, plain)


def test_arrays_of_unequal_shapes_are_refused(small):
    ids = jnp.zeros((2, 4), jnp.int32)
    with pytest.raises(ValueError, match=r"\(2, 4\), \(2, 3\) and \(2, 4\)"):
        Encoder(SMALL).apply(
            {"params": small}, ids, ids[:, 1:], ids, deterministic=True
        )
    with pytest.raises(ValueError, match=r"`types` .* \(2, 4\); found \(1, 4\)"):
        Encoder(SMALL).apply(
            {"params": small}, ids, ids, ids, types=ids[:1], deterministic=True
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "brt"}, "did you mean bert"),
        (
            {"hidden_act": "geglu"},
            "hidden_act is 'geglu', which is not supported; known",
        ),
        ({"num_attention_heads": 5}, "16 is not a multiple of num_attention_heads 5"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0; expected at least 1"),
        ({"vocab_size": -3}, "vocab_size is -3"),
        ({"hidden_dropout_prob": 1.0}, "hidden_dropout_prob is 1.0; expected a rate"),
        ({"attention_probs_dropout_prob": -0.1}, "attention_probs_dropout_prob is"),
        ({"layer_norm_eps": float("nan")}, "layer_norm_eps is nan"),
        ({"initializer_range": -1.0}, "initializer_range is -1.0"),
        ({"pad_token_id": 50}, r"pad_token_id 50 is not in \[0, 50\)"),
        (
            {"model_type": "roberta", "pad_token_id": 31},
            "max_position_embeddings 32 leaves no position",
        ),
    ],
)
def test_a_wrong_configuration_is_refused_in_one_line(change, message):
    with pytest.raises(InputError, match=message) as caught:
        dataclasses.replace(SMALL, **change)
    assert "\n" not in str(caught.value)


def test_the_length_of_a_text_leaves_out_robertas_reserved_positions():
    assert EncoderConfig(max_position_embeddings=512).max_length == 512
    roberta = EncoderConfig("roberta", max_position_embeddings=514, pad_token_id=1)
    assert (roberta.position_offset, roberta.max_length) == (2, 512)
