"""Small untrained models with random parameters, as if a run had trained them."""

import dataclasses

import jax
import numpy as np

from mtra_jax import config as configs
from mtra_jax.data.tokenizing import tokens
from mtra_jax.exports import writing
from mtra_jax.models import encoder, pretrained
from mtra_jax.runs.directory import best_model, inputs_json
from mtra_jax.runs.training import choices
from mtra_jax.tasks import Benchmark, Task
from mtra_jax.train import backbone, build

TEXTS = [
    "a great stay, would come again",
    "too loud",
    " never again: the room was cold and the staff was rude to everybody ",
    "fine",
    "",
]
SECOND_TEXTS = ["we liked it", "quiet", "it was warm there", "bad", "nothing"]
TASKS = (
    Task("mood", "Mood", "classification", ("bad", "good", "so-so"), ("macro_f1",)),
    Task("topics", "Topics", "multi_label", ("room", "staff"), ("micro_f1",)),
    Task(
        "stars",
        "Stars",
        "regression",
        ("stars", "price"),
        ("pearson",),
        means=(55.0, 3.0),
        deviations=(20.0, 0.5),
    ),
    Task("length", "Length", "regression", ("length",), ("pearson",)),
)


def as_pairs(tasks):
    return tuple(dataclasses.replace(task, is_pair=True) for task in tasks)


def random_like(tree, scale):
    """Parameters near `tree`, none of them at its initial value."""
    rng = np.random.default_rng(1)
    return jax.tree.map(
        lambda leaf: np.asarray(
            leaf + scale * rng.normal(size=np.shape(leaf)), np.float32
        ),
        tree,
    )


def make_saved(
    method="ew", tasks=TASKS, *, made=None, max_length=64, scale=0.3, **sizes
):
    """A model of `method` on a new small encoder, or on the backbone `made`."""
    if made is None:
        tokenizer = tokens.train_tokenizer([*TEXTS, *SECOND_TEXTS], 200)
        settings = {
            "vocab_size": tokenizer.get_vocab_size(),
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "max_position_embeddings": 80,
            **sizes,
        }
        sizes_of_encoder = encoder.EncoderConfig(**settings)
        params = pretrained.init_encoder(sizes_of_encoder, jax.random.key(0))
        made = backbone.Backbone(
            sizes_of_encoder, random_like(params, scale), tokenizer
        )
    values = {"data.max_length": max_length, "data.cache_dir": "", "batch_size": 8}
    config = configs.make(method, values)
    benchmark = Benchmark("own", tuple(tasks))
    model = choices.make_model(config, benchmark, made.config)
    choice = choices.method_of(config)
    made_method = build.make_method(model, choice)
    params = build.init_params(model, made_method, made.params, jax.random.key(0))
    parts = {name: random_like(params[name], scale) for name in ("heads", "method")}
    made_from = inputs_json.Fingerprints(
        {}, inputs_json.of_encoder(made.config, made.tokenizer, made.params)
    )
    params = {"encoder": made.params, **parts}
    return best_model.Saved(config, benchmark, made, params, made_from)


def written(directory, saved):
    """Writes a model into the new `directory`; returns it."""
    directory.mkdir()
    writing.write_model(directory, saved, {})
    return directory
