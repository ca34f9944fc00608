"""Examples and tokenizers -> counts and hashes that show whether they changed."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from mtra_jax.data.splits.examples import Examples, Splits


def of_splits(splits: Splits) -> dict[str, dict[str, dict[str, Any]]]:
    """Returns task -> split -> {"examples": N, "sha256": hash of texts, labels, order}."""
    return {
        task: {split: _of_examples(examples) for split, examples in parts.items()}
        for task, parts in splits.items()
    }


def _of_examples(examples: Examples) -> dict[str, Any]:
    digest = hashlib.sha256(_of_texts(examples.texts))
    labels = examples.labels
    # Values were float32 once: the same data keep their hash, unless float32 loses some.
    narrow = labels.astype(np.float32) if labels.dtype == np.float64 else labels
    digest.update(narrow.astype(narrow.dtype.newbyteorder("<")).tobytes())
    if labels.dtype == np.float64 and _is_lossy(labels, narrow):
        digest.update(labels.astype("<f8").tobytes())
    digest.update(repr(examples.targets).encode())
    if examples.second_texts:
        digest.update(_of_texts(examples.second_texts))
    return {"examples": len(examples.texts), "sha256": digest.hexdigest()}


def _is_lossy(labels: np.ndarray, narrow: np.ndarray) -> bool:
    """Whether float32 merges values, or rounds them by 1e-4 of their span and more."""
    if len(np.unique(narrow)) < len(np.unique(labels)):
        return True
    if len(labels) == 0:
        return False
    error, span = np.abs(labels - narrow).max(axis=0), np.ptp(labels, axis=0)
    return bool(np.any((span > 0) & (error > 1e-4 * span)))


def _of_texts(texts: Sequence[str]) -> bytes:
    """The characters of all texts, then the lengths: ["a", "b"] is not ["ab", ""]."""
    lengths = np.fromiter(map(len, texts), np.int64, count=len(texts))
    characters = "".join(texts).encode(errors="surrogatepass")
    return characters + lengths.astype("<i8").tobytes()


def of_tokenizer(tokenizer: Tokenizer) -> str:
    """SHA-256 of the serialised tokenizer, which determines its ids."""
    return hashlib.sha256(tokenizer.to_str().encode()).hexdigest()
