"""Pairs of texts against PyTorch, from the raw texts to z and the gradient of the types."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tokenizers import Tokenizer, processors

from mtra_jax.data import benchmarks
from mtra_jax.data.built_in.sources import Examples
from mtra_jax.data.packed import batches
from mtra_jax.data.tokenizing import tokens
from mtra_jax.models.encoder import EncoderConfig
from mtra_jax.models.pretrained import from_huggingface
from mtra_jax.tasks import Benchmark, Task
from mtra_jax.train import build

WORDS = ["a", "cat", "dog", "rain", "sat", "ran", "there", "all", "day", "long", "on"]
MAX_LENGTH = 18
CLASSES = "classification", ("no", "yes"), ("accuracy",)
SIZES = {"follows": 7, "mood": 5, "near": 4}
SINGLE = Benchmark("single", (Task("mood", "Mood", *CLASSES),))
MIXED = Benchmark(
    "mixed",
    (
        Task("follows", "Follows", *CLASSES, is_pair=True),
        *SINGLE.tasks,
        Task("near", "Near", *CLASSES, is_pair=True),
    ),
)
# Places of a batch: empty ones between, so that texts change their order and device.
PLAN = np.array([15, 3, -1, 8, 0, 11, 5, 1, 14, -1, 9, 2, 7, 12, 4, 10, 6, 13, -1, -1])


def draw_texts(rng, size):
    """Texts of 0 to 12 words: empty ones, and pairs that are longer than `MAX_LENGTH`."""
    lengths = rng.permutation(np.linspace(0, 12, size).round().astype(int))
    return [" ".join(rng.choice(WORDS, length)) for length in lengths]


def make_examples():
    rng = np.random.default_rng(0)
    return {
        task.name: {
            "train": Examples(
                draw_texts(rng, SIZES[task.name]),
                np.zeros(SIZES[task.name], np.int32),
                (),
                draw_texts(rng, SIZES[task.name]) if task.is_pair else (),
            )
        }
        for task in MIXED.tasks
    }


def write_tokenizer(kind, directory):
    tokenizer = tokens.train_tokenizer(WORDS, 60)
    if kind == "roberta":
        spec = json.loads(tokenizer.to_str().replace("[PAD]", "<pad>"))
        tokenizer = Tokenizer.from_str(json.dumps(spec))
        tokenizer.post_processor = processors.RobertaProcessing(
            ("[SEP]", 3), ("[CLS]", 2)
        )
    tokens.save_tokenizer(tokenizer, directory, MAX_LENGTH)


def make_torch_model(kind, size):
    import torch
    from transformers import AutoConfig, AutoModel

    torch.manual_seed(0)
    config = AutoConfig.for_model(
        kind,
        vocab_size=size,
        hidden_size=12,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=20,
        max_position_embeddings=MAX_LENGTH + 2,
        pad_token_id=0,
        type_vocab_size={"bert": 3, "roberta": 1}[kind],
        layer_norm_eps=1e-6,
    )
    model = AutoModel.from_config(
        config, add_pooling_layer=False, attn_implementation="eager"
    )
    with torch.no_grad():
        for value in model.parameters():
            value += 0.3 * torch.randn_like(value)
    return model.double().eval()


def torch_values(model, directory, benchmark, examples, weights):
    """z of each text [N, H], and the gradient by the types of the sum of weights * z."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    states, total = [], 0.0
    for task in benchmark.tasks:
        part = examples[task.name]["train"]
        for place in range(len(part.texts)):
            row = slice(place, place + 1)
            # Lists: of an empty second text alone it would make no pair.
            second = [part.second_texts[row]] if task.is_pair else []
            inputs = tokenizer(
                part.texts[row],
                *second,
                truncation=True,
                max_length=MAX_LENGTH,
                return_tensors="pt",
            )
            z = model(**inputs).last_hidden_state[0, 0]
            total = total + (z.new_tensor(weights[len(states)]) * z).sum()
            states.append(z.detach().numpy())
    total.backward()
    table = model.embeddings.token_type_embeddings.weight
    return np.array(states), table.grad.numpy()


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.parametrize(
    ("kind", "benchmark", "micro_batches", "part_size"),
    [
        ("bert", MIXED, 1, None),
        pytest.param("bert", MIXED, 2, 8, marks=pytest.mark.slow),
        ("bert", SINGLE, 1, None),
        pytest.param("roberta", MIXED, 2, None, marks=pytest.mark.slow),
    ],
    ids=["bert", "bert in parts", "bert without pairs", "roberta"],
)
def test_packed_pairs_have_the_states_and_gradients_of_pytorch(
    tmp_path, kind, benchmark, micro_batches, part_size
):
    pytest.importorskip("torch")
    examples = make_examples()
    write_tokenizer(kind, tmp_path)
    tokenizer = tokens.load_tokenizer(tmp_path)
    torch_model = make_torch_model(kind, tokenizer.get_vocab_size())
    corpus = benchmarks.build_corpora(
        benchmark,
        examples,
        tokenizer,
        max_length=MAX_LENGTH,
        cache_dir=None,
        splits=("train",),
    )["train"]
    size = sum(corpus.sizes)
    weights = np.random.default_rng(1).normal(size=(size, 12))
    expected, by_types = torch_values(
        torch_model, tmp_path, benchmark, examples, weights
    )
    assert corpus.tokens.lengths.max() == (MAX_LENGTH if benchmark is MIXED else 14)

    plan = np.where(size > PLAN, PLAN, -1)
    batcher = batches.Batcher(
        corpus,
        num_devices=2,
        local_devices=(0, 1),
        micro_batches=micro_batches,
        part_size=part_size,
    )
    batch = batcher.pack(plan, np.random.default_rng(0))
    parts = batches.parts(corpus, plan, part_size)
    fields = EncoderConfig.__dataclass_fields__
    config = EncoderConfig(
        **{k: v for k, v in torch_model.config.to_dict().items() if k in fields}
    )
    with jax.enable_x64(True):
        model = build.make_model(benchmark, config, dtype=jnp.float64, head_dropout=0.0)
        state = {k: v.detach().numpy() for k, v in torch_model.state_dict().items()}
        params = {"encoder": from_huggingface(state, config)}

        @jax.jit
        @functools.partial(jax.grad, has_aux=True)
        def differentiate(params, local, factors):
            z = model.represent(params, local, None)
            return jnp.sum(factors * z), (z, model.encode(params, local, None))

        is_seen = np.zeros(size, bool)
        gradient = 0.0
        for device in range(2):
            for part, planned in enumerate(parts):
                local = jax.tree.map(lambda x, d=device, p=part: x[d, p], batch)
                own = planned[device::2]
                factors = np.where(own[:, None] >= 0, weights[own], 0)
                grads, (z, hidden) = differentiate(params, local, factors)
                rows = np.reshape(hidden, (-1, 12))
                merged = first_places(local)
                for place in np.flatnonzero(own >= 0):
                    np.testing.assert_allclose(
                        z[place], expected[own[place]], rtol=0, atol=1e-10
                    )
                    np.testing.assert_allclose(
                        rows[merged[place]], expected[own[place]], rtol=0, atol=1e-10
                    )
                    is_seen[own[place]] = True
                table = grads["encoder"]["embeddings"]["token_type_embeddings"]
                gradient += np.asarray(table["embedding"])
    assert is_seen.all()
    np.testing.assert_allclose(gradient, by_types, rtol=0, atol=1e-9)
    # Only second texts have the type 1; no text has the type 2.
    reaches = [True, benchmark is MIXED, False][: config.type_vocab_size]
    assert gradient.any(axis=1).tolist() == reaches


def first_places(local):
    """Where each text starts in the rows of all micro-batches."""
    num_micro_batches, num_rows, length = local.tokens.shape
    starts = np.arange(num_micro_batches) * num_rows * length
    return (local.first_tokens + starts[:, None]).T.reshape(-1)
