"""The splits of a task -> how many test and validation texts are training texts, too."""

from collections.abc import Iterable, Mapping

from mtra_jax.data.splits.examples import Examples


def line(splits: Mapping[str, Examples]) -> str:
    """How many there are, as the end of a line; "" for none, or without training data.

    Figures of such a test set are too good; such a validation set chooses the epoch and
    the thresholds by texts that were learned.
    """
    if "train" not in splits:
        return ""
    train = set(_texts(splits["train"]))
    counts = []
    for name in ("test", "validation"):
        texts = [*_texts(splits[name])] if name in splits else []
        if shared := sum(text in train for text in texts):
            counts.append(f"{shared} of {len(texts)} {name} texts")
    return f"{' and '.join(counts)} are training texts too" if counts else ""


def _texts(part: Examples) -> Iterable[tuple[str, ...]]:
    return zip(
        part.texts, *([part.second_texts] if part.second_texts else []), strict=True
    )
