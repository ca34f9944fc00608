"""Writes five tasks of different kinds from TweetEval and AffectEval, as own tasks.

    python scripts/example_tasks.py --data_dir data --to my --limit 2000
    python scripts/train.py --config configs/own.py:tasks=my/tasks.toml --workdir runs/mine \
        --config.backbone.path=DIR_OR_HUB_NAME

The files are what users have: a CSV file of two classes, JSON lines of 20 classes, a TSV
file with several labels a row, a CSV file of pairs of texts, and JSON lines of numbers from
0 to 100. --limit keeps at most that many examples of each file.
"""

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from mtra_jax import cli, files
from mtra_jax.data.built_in import sources
from mtra_jax.tasks import AFFECTEVAL, GOEMOTIONS_LABELS, TWEETEVAL

SPLITS = {"train": "train", "validation": "dev", "test": "test"}
LABELS = GOEMOTIONS_LABELS.split()
TARGETS = {
    "abortion": "legalization of abortion",
    "atheism": "atheism",
    "climate": "climate change is a real concern",
    "feminist": "feminist movement",
    "hillary": "Hillary Clinton",
}
TASKS = """\
[offensive]
files = { train = "offensive/train.csv", validation = "offensive/dev.csv", test = "offensive/test.csv" }
text = "tweet"
label = "class"
metrics = ["macro_f1", "accuracy"]

[emotion]
files = { train = "emotion/train.jsonl", validation = "emotion/dev.jsonl", test = "emotion/test.jsonl" }
text = "text"
label = "emotion"
metrics = ["macro_f1", "accuracy"]

[emotions]
kind = "multi_label"
files = { train = "emotions/train.tsv", validation = "emotions/dev.tsv", test = "emotions/test.tsv" }
text = "text"
label = "emotions"
label_separator = ","
metrics = ["macro_f1", "micro_f1"]

[stance]
files = { train = "stance/train.csv", validation = "stance/dev.csv", test = "stance/test.csv" }
text = ["target", "tweet"]
label = "stance"
metrics = ["macro_f1", "accuracy"]

[intensity]
kind = "regression"
files = { train = "intensity/train.jsonl", validation = "intensity/dev.jsonl", test = "intensity/test.jsonl" }
text = "tweet"
label = ["intensity"]
metrics = ["pearson", "rmse"]
"""

Rows = list[dict[str, Any]]


def main(arguments: Sequence[str]) -> None:
    parser = cli.Parser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data_dir", required=True, help="root of the benchmarks' files"
    )
    parser.add_argument("--to", required=True, help="the directory to write")
    parser.add_argument("--limit", type=int, default=0, help="rows a file; 0 for all")
    flags = cli.parse(parser, arguments)
    root, to = cli.existing_directory(flags.data_dir), cli.output_directory(flags.to)
    for split, part in SPLITS.items():
        for name, suffix, write, rows in made(root, split):
            rows = evenly(rows, flags.limit)
            files.write_text(to / name / f"{part}.{suffix}", write(rows))
    files.write_text(to / "tasks.toml", TASKS)
    print(f"five tasks in {to / 'tasks.toml'}")


def made(root: Path, split: str) -> Iterable[tuple[str, str, Callable, Rows]]:
    """Yields (task, suffix, writer, rows) of one split."""
    tweets = sources.load_benchmark(
        TWEETEVAL.select(["offensive", "stance"]), root, [split]
    )
    offensive, stance = (tweets[name][split] for name in ("offensive", "stance"))
    names = TWEETEVAL.select(["offensive"]).tasks[0].labels
    rows: Rows = [
        {"tweet": text, "class": names[label]}
        for text, label in zip(offensive.texts, offensive.labels, strict=True)
    ]
    yield "offensive", "csv", as_csv, rows
    targets = [TARGETS[name] for name, size in stance.targets for _ in range(size)]
    names = TWEETEVAL.select(["stance"]).tasks[0].labels
    triples = zip(targets, stance.texts, stance.labels, strict=True)
    rows = [{"target": t, "tweet": x, "stance": names[y]} for t, x, y in triples]
    yield "stance", "csv", as_csv, rows
    comments = goemotions(root, split)
    yield "emotions", "tsv", as_tsv, comments
    frequent = frequent_labels(goemotions(root, "train"))
    rows = [
        {"text": row["text"], "emotion": row["emotions"]}
        for row in comments
        if row["emotions"] in frequent
    ]
    yield "emotion", "jsonl", as_json_lines, rows
    scores = sources.load_benchmark(AFFECTEVAL.select(["ei-reg"]), root, [split])
    part = scores["ei-reg"][split]
    rows = [
        {"tweet": text, "intensity": round(100 * float(value), 1)}
        for text, (value,) in zip(part.texts, part.labels, strict=True)
    ]
    yield "intensity", "jsonl", as_json_lines, rows


def goemotions(root: Path, split: str) -> Rows:
    """All comments of GoEmotions, those with several labels too."""
    path = root / "affecteval" / "goemotions" / f"{SPLITS[split]}.tsv"
    with path.open(newline="", encoding="utf-8") as file:
        return [
            {
                "text": " ".join(text.split()),
                "emotions": ",".join(LABELS[int(label)] for label in labels.split(",")),
            }
            for text, labels, _ in csv.reader(file, delimiter="\t")
        ]


def frequent_labels(rows: Rows, count: int = 20) -> set[str]:
    """The most frequent labels of the comments with a single label."""
    labels = Counter(row["emotions"] for row in rows if "," not in row["emotions"])
    return {label for label, _ in labels.most_common(count)}


def evenly(rows: Rows, limit: int) -> Rows:
    """At most `limit` rows, evenly spaced; all of them for 0."""
    if not limit or len(rows) <= limit:
        return rows
    return [rows[place * len(rows) // limit] for place in range(limit)]


def as_csv(rows: Rows, delimiter: str = ",") -> str:
    """A header and one line for each row."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def as_tsv(rows: Rows) -> str:
    return as_csv(rows, "\t")


def as_json_lines(rows: Rows) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


if __name__ == "__main__":
    cli.run(main)
