"""Examples and tokenizers -> counts and hashes that show whether they changed."""

import hashlib
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from mtra_jax.data.sources import Examples, Splits


def of_splits(splits: Splits) -> dict[str, dict[str, dict[str, Any]]]:
    """Returns task -> split -> {"examples": N, "sha256": hash of texts, labels and order}."""
    return {
        task: {split: _of_examples(examples) for split, examples in parts.items()}
        for task, parts in splits.items()
    }


def _of_examples(examples: Examples) -> dict[str, Any]:
    texts = examples.texts
    lengths = np.fromiter(map(len, texts), np.int64, count=len(texts))
    digest = hashlib.sha256("".join(texts).encode(errors="surrogatepass"))
    # The lengths distinguish ["a", "b"] from ["ab", ""].
    digest.update(lengths.astype("<i8").tobytes())
    labels = examples.labels
    digest.update(labels.astype(labels.dtype.newbyteorder("<")).tobytes())
    digest.update(repr(examples.targets).encode())
    return {"examples": len(texts), "sha256": digest.hexdigest()}


def of_tokenizer(tokenizer: Tokenizer) -> str:
    """SHA-256 of the serialised tokenizer, which determines its ids."""
    return hashlib.sha256(tokenizer.to_str().encode()).hexdigest()
