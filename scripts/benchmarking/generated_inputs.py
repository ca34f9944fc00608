"""Options -> texts in TweetEval's layout, a tokenizer, an encoder of random weights.

They are written once, to the directory of the run, for all measurements.
"""

import dataclasses
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import program_costs
import workload_files
from tokenizers import Tokenizer, models

from mtra_jax.data import benchmarks
from mtra_jax.data.built_in import sources, synthetic
from mtra_jax.data.tokenizing import tokens
from mtra_jax.models import pretrained
from mtra_jax.models.encoder import EncoderConfig
from mtra_jax.tasks import TWEETEVAL
from mtra_jax.types import Params

# RoBERTa's padding id is 1; the tokenizers trained here have [PAD] as their first token.
ROBERTA = dataclasses.replace(program_costs.ROBERTA_BASE, pad_token_id=0)
"""RoBERTa-base: 12 layers, width 768, 12 heads, 3,072 within the feed-forward."""
SMALL = dataclasses.replace(
    ROBERTA,
    vocab_size=1000,
    hidden_size=32,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=64,
    max_position_embeddings=130,
)
TRAINED_ON = 20_000
"""Limit on the texts on which the tokenizer is trained."""
EVALUATED = 256
"""Validation and test texts of each task."""


def measure(options: dict[str, Any], emit: Any) -> None:
    started = time.perf_counter()
    files = workload_files.of(options)
    config = SMALL if options["small"] else ROBERTA
    if not options["data_dir"]:
        num_train = 16 * workload_files.batch_size(options, 8)
        write_texts(files.data, num_train // 4)
    examples = benchmarks.read_examples(TWEETEVAL, str(files.data))
    texts = benchmarks.train_texts(TWEETEVAL, examples)
    if not options["backbone"]:
        sample = texts[:: -(-len(texts) // TRAINED_ON)]
        tokenizer = tokens.train_tokenizer(sample, min(16_000, config.vocab_size))
        fill(tokenizer, config.vocab_size)
        tokens.save_tokenizer(tokenizer, files.backbone, config.max_length)
        pretrained.save_encoder(files.backbone, config, random_encoder(config))
    else:
        tokenizer = tokens.load_tokenizer(files.backbone)
    # Fills the cache of tokens that all measurements read.
    corpora = benchmarks.build_corpora(
        TWEETEVAL,
        examples,
        tokenizer,
        max_length=workload_files.max_length(options),
        cache_dir=files.tokens,
    )
    lengths = corpora["train"].tokens.lengths
    low, median, high = np.quantile(lengths, (0.25, 0.5, 0.75)).tolist()
    emit(
        "texts",
        f"{len(texts):,} of training, {lengths.mean():.1f} tokens (quartiles {low:.0f}, "
        f"{median:.0f}, {high:.0f}); {'real' if options['data_dir'] else 'made up'}; "
        f"made in {time.perf_counter() - started:.1f} s",
        num_texts=len(texts),
        mean_tokens=float(lengths.mean()),
        quartiles=[low, median, high],
    )


def fill(tokenizer: Tokenizer, size: int) -> None:
    """Adds unused tokens, so that every row of the encoder has a token."""
    vocabulary = tokenizer.get_vocab()
    unused = range(len(vocabulary), size)
    vocabulary |= {f"[unused{number}]": number for number in unused}
    tokenizer.model = models.WordPiece(vocabulary, unk_token="[UNK]")


def random_encoder(config: EncoderConfig, seed: int = 0) -> Params:
    """New parameters like those of `pretrained.init_encoder`, drawn by NumPy.

    NumPy draws 125 million numbers faster than XLA compiles a program to draw them.
    """
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(pretrained.init_encoder, config, jax.random.key(0))

    def draw(path: Any, leaf: Any) -> np.ndarray:
        kind = path[-1].key
        if kind in ("bias", "scale"):
            return np.full(leaf.shape, kind == "scale", np.float32)
        return config.initializer_range * rng.standard_normal(leaf.shape, np.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def write_texts(root: Path, num_train: int, seed: int = 0) -> None:
    """Writes TweetEval's files with `num_train` made-up texts a task.

    The words are those of the synthetic benchmark, the lengths like those of tweets:
    log-normal, about 28 tokens on average. The labels are drawn at random.
    """
    rng = np.random.default_rng(seed)
    drawn = synthetic.generate(seed, {"polarity": (4000, 1, 1)})
    words = " ".join(drawn["polarity"]["train"].texts).split()
    for task in TWEETEVAL.tasks:
        files = sources.task_files(task)
        num_parts = len(files) // 6  # three splits, texts and labels
        for path in files:
            if not path.endswith("_text.txt"):
                continue
            is_train = "/train_" in path
            count = -(-num_train // num_parts) if is_train else EVALUATED // num_parts
            lengths = np.exp(rng.normal(np.log(20.5), 0.42, count)).round().astype(int)
            starts = rng.integers(0, len(words) - 200, count)
            texts = [
                " ".join(words[start : start + min(max(length, 1), 150)])
                for start, length in zip(starts, lengths, strict=True)
            ]
            labels = rng.integers(0, task.num_outputs, count)
            text_path = root / path
            text_path.parent.mkdir(parents=True, exist_ok=True)
            text_path.write_text("\n".join(texts) + "\n", encoding="utf-8")
            label_path = root / path.replace("_text.txt", "_labels.txt")
            label_path.write_text("".join(f"{label}\n" for label in labels))
