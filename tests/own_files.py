"""Five small tasks of five kinds in files, and flags of a run that learns them quickly."""

import csv
import json
from pathlib import Path

WORDS = {"bad": "awful dull slow cold", "good": "lovely bright quick warm"}
NOUNS = ["room", "food", "staff", "lake"]
TOML = """\
[mood]
files = { train = "mood.csv", validation = "mood_dev.csv", test = "mood_test.csv" }
text = "review"
label = "mood"
metrics = ["macro_f1", "accuracy"]

[noun]
files = { train = "noun.jsonl", validation = "noun_dev.jsonl", test = "noun_test.jsonl" }
label = "noun"

[topics]
kind = "multi_label"
files = { train = "topics.tsv", validation = "topics_dev.tsv", test = "topics_test.tsv" }
label = "topics"
label_separator = "|"
metrics = ["micro_f1"]

[agrees]
files = { train = "agrees.csv", validation = "agrees_dev.csv", test = "agrees_test.csv" }
text = ["first", "second"]
label = "agrees"
metrics = ["accuracy"]

[stars]
kind = "regression"
files = { train = "stars.jsonl", validation = "stars_dev.jsonl", test = "stars_test.jsonl" }
label = ["stars"]
metrics = ["pearson", "rmse"]
"""
SIZES = {"": 48, "_dev": 16, "_test": 16}
TASKS = ("mood", "noun", "topics", "agrees", "stars")
# MTRA learns mood, topics and stars with these on a new encoder, in 240 steps.
FLAGS = (
    "--config.backbone.path=",
    "--config.backbone.hidden_size=16",
    "--config.backbone.intermediate_size=32",
    "--config.backbone.num_hidden_layers=1",
    "--config.backbone.vocab_size=200",
    "--config.data.max_length=32",
    "--config.data.max_shapes=1",
    "--config.backbone.dropout=0",
    "--config.head_dropout=0",
    "--config.warm_up=0",
    "--config.epochs=8",
    "--config.batch_size=8",
    "--config.learning_rate=1e-2",
    "--config.loggers=",
)


def example(number: int) -> dict[str, object]:
    """The values of all tasks for the text `number`."""
    mood = ("bad", "good")[number % 2]
    noun = NOUNS[number // 2 % len(NOUNS)]
    word = WORDS[mood].split()[number // 3 % 4]
    topics = [name for name in NOUNS[:3] if name == noun]
    topics += ["praise"] if mood == "good" else []
    other = ("awful", "lovely")[number // 4 % 2]
    return {
        "text": f"the {noun} was {word}, number {number}",
        "mood": mood,
        "noun": noun,
        "topics": topics,
        "second": f"they found it {other}",
        "agrees": "yes" if (other == "lovely") == (mood == "good") else "no",
        "stars": 40 + 30 * (mood == "good") + number % 7,
    }


def write(directory: Path, toml: str = TOML) -> Path:
    """Writes the files of the tasks into `directory`; returns the path of the TOML file."""
    directory.mkdir(parents=True, exist_ok=True)
    start = 0
    for suffix, size in SIZES.items():
        rows = [example(start + number) for number in range(size)]
        start += size
        _write_table(directory / f"mood{suffix}.csv", ",", "review", ["mood"], rows)
        _write_table(directory / f"agrees{suffix}.csv", ",", "first", None, rows)
        _write_table(directory / f"topics{suffix}.tsv", "\t", "text", ["topics"], rows)
        for name in ("noun", "stars"):
            lines = [json.dumps({"text": r["text"], name: r[name]}) for r in rows]
            path = directory / f"{name}{suffix}.jsonl"
            path.write_text("".join(f"{line}\n" for line in lines))
    path = directory / "tasks.toml"
    path.write_text(toml)
    return path


def _write_table(path, delimiter, text, columns, rows):
    columns = columns or ["second", "agrees"]
    with path.open("w", newline="") as file:
        table = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        table.writerow([text, *columns])
        for row in rows:
            cells = [row[name] for name in columns]
            table.writerow(
                [
                    row["text"],
                    *("|".join(c) if isinstance(c, list) else c for c in cells),
                ]
            )
