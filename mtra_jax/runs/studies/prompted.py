"""A language model and the examples of tasks -> a finished run without any training.

Its directory has `prompt.json`, `tasks.json`, `predictions/` and `results.json`; the
replies are in `answers.jsonl`, which several runs may share.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mtra_jax import files, metrics
from mtra_jax.data.splits import fingerprints
from mtra_jax.data.splits.examples import Data, Examples
from mtra_jax.errors import InputError, shown
from mtra_jax.prompting import answers, asking, demonstrations, prompts
from mtra_jax.prompting.stored_replies import Store
from mtra_jax.reports.comparisons import run_tasks, unread
from mtra_jax.reports.formatting import tables
from mtra_jax.reports.predicted import predictions
from mtra_jax.runs.directory import layout, metrics_log, tasks_json
from mtra_jax.runs.sweeps import sweep
from mtra_jax.runs.training import results
from mtra_jax.tasks import Task

FILE = "prompt.json"
FORMAT = 1
METHOD = "prompt"
"""The method in `results.jsonl`."""
_EW = "ew"


class Choice(NamedTuple):
    """The number of demonstrations in each prompt, and the seed that draws them."""

    demonstrations: int
    seed: int = 0

    @property
    def words(self) -> str:
        """The end of the row's name."""
        count = self.demonstrations
        if not count:
            return "zero-shot"
        return f"{count} demonstration{'' if count == 1 else 's'}"


class Asked(NamedTuple):
    """The question of a task, and the prompt about each test example."""

    question: prompts.Question
    prompts: list[prompts.Prompt]


def row_name(model: str, choice: Choice) -> str:
    """The name of a run in tables.

    >>> row_name("gpt", Choice(4))
    'gpt 4 demonstrations'
    """
    return f"{model} {choice.words}"


def prepare(data: Data, choice: Choice) -> dict[str, Asked]:
    """The prompts of each task. `data` has the training and test examples.

    Raises:
      InputError: there are too few training examples for the demonstrations, or no sign
        can separate labels.
    """
    asked = {}
    for task in data.benchmark.tasks:
        train, test = (data.splits[task.name][split] for split in ("train", "test"))
        question = prompts.question(data.benchmark, task, train)
        shots = demonstrations.draw(
            task, train, test, choice.demonstrations, choice.seed
        )
        second = test.second_texts or [""] * len(test.texts)
        own = [
            prompts.prompt(question, shots, text, other)
            for text, other in zip(test.texts, second, strict=True)
        ]
        asked[task.name] = Asked(question, own)
    return asked


def listing(asked: Mapping[str, Asked], model: asking.Model, store: Store) -> str:
    """The number and length of each task's prompts, and how many have no reply yet."""
    body = [("task", "prompts", "characters", "without a reply")]
    for name, own in asked.items():
        lengths = [len(prompts.text_of(prompt)) for prompt in own.prompts]
        missing = len(asking.missing(model, store, own.prompts))
        body.append((name, str(len(lengths)), str(sum(lengths)), str(missing)))
    return tables.align(body)


def begin(
    directory: Path, model: asking.Model, data: Data, choice: Choice, asked: Any
) -> None:
    """Writes `prompt.json`, unless it is there.

    Raises:
      InputError: `directory` holds a trained run, or that of other prompts.
    """
    path = directory / FILE
    now = {
        "format": FORMAT,
        "prompt_format": prompts.FORMAT,
        "model": model.name,
        "settings": dict(model.settings),
        **choice._asdict(),
        "data": _train_and_test(data),
        "first_prompts": {
            name: prompts.text_of(own.prompts[0]) for name, own in asked.items()
        },
    }
    if (directory / layout.CONFIG).exists():
        raise InputError(f"{directory}: a trained run; expected a new --workdir")
    if path.exists():
        then = files.read_json(path)
        for key, value in now.items():
            before = then.get(key) if isinstance(then, dict) else None
            if before != value:
                raise InputError(
                    f"{path}: {key} is {shown(before)} there and {shown(value)} here; "
                    "expected the same, or a new --workdir"
                )
    else:
        files.write_json(path, now)


def _train_and_test(data: Data) -> dict[str, Any]:
    own = fingerprints.of_splits(data.splits)
    return {
        t: {s: p for s, p in o.items() if s != "validation"} for t, o in own.items()
    }


def run(
    model: asking.Model,
    data: Data,
    choice: Choice,
    directory: Path,
    store: Store,
    count: Callable[[int], None] = lambda number: None,
) -> dict[str, Any]:
    """Asks about each test example, and writes the files of a finished run.

    Returns the content of `results.json`. There is no validation: its figures are missing.
    A metric that needs probabilities is missing too.

    Raises:
      InputError: see `prepare` and `begin`.
    """
    asked = prepare(data, choice)
    begin(directory, model, data, choice, asked)
    started = time.monotonic()
    scores: dict[str, dict[str, float]] = {}
    counts: dict[str, dict[str, int]] = {}
    for task in data.benchmark.tasks:
        own, parts = asked[task.name], data.splits[task.name]
        replies = asking.ask(model, store, own.prompts, count)
        predicted, numbers = answers.predictions(
            own.question, replies, parts["test"].labels, _means(task, parts["train"])
        )
        scores[task.name] = metrics.score(task, predicted, parts["test"].labels)
        counts[task.name] = numbers._asdict()
        predictions.write_predictions(
            directory / layout.PREDICTIONS,
            task,
            predicted,
            dict(parts["test"].targets),
        )
    content = {
        "validation": _none_of(data.benchmark.tasks),
        "test": metrics.summarize(scores, data.benchmark.tasks),
        "majority": results.majority(data.splits, data.benchmark),
        "model": model.name,
        "demonstrations": choice.demonstrations,
        unread.ANSWERS: counts,
        "best_epoch": 0,
        "epochs": 0,
        "steps": 0,
        "examples": {
            task: {split: len(part.texts) for split, part in parts.items()}
            for task, parts in data.splits.items()
        },
        "train_seconds": 0.0,
        "scoring_seconds": round(time.monotonic() - started, 1),
    }
    tasks_json.write(directory, data.benchmark)
    files.write_json(directory / layout.RESULTS, content)
    return content


def _means(task: Task, train: Examples) -> np.ndarray:
    """The mean training values of a regression; nothing for other tasks."""
    if task.kind != "regression":
        return np.zeros(0)
    return train.labels.astype(np.float64).mean(axis=0)


def _none_of(tasks: Sequence[Task]) -> dict[str, Any]:
    figures = {task.name: dict.fromkeys(task.metrics) for task in tasks}
    return {**figures, "avg": None}


# ---- results.jsonl


def check_place(directory: Path, data: Data) -> None:
    """Raises InputError if a run on `data` cannot be a row of the sweep in `directory`."""
    entries = sweep.read(directory)
    if not entries:
        return
    first, path = entries[0], directory / sweep.RESULTS
    tasks = run_tasks.columns_of(data.benchmark.tasks)
    if difference := run_tasks.difference(tasks, first.tasks):
        raise InputError(f"{path}: {difference}, as in the first run")
    for name, parts in data.splits.items():
        there = first.results.get("examples", {}).get(name, {}).get("test")
        here = len(parts["test"].texts)
        if there is not None and there != here:
            raise InputError(
                f"{path}: {there} test examples of {name}; {here} here, expected as many"
            )


def record(
    directory: Path,
    name: str,
    choice: Choice,
    data: Data,
    content: Mapping[str, Any],
    command: str,
    baseline: str = "",
) -> None:
    """Puts the line of a finished run into `results.jsonl`, for that name and seed.

    `baseline`: by default EW if it has a line, else that of the first line.
    """
    lines = {(entry.name, entry.seed): entry.values for entry in sweep.read(directory)}
    if not baseline and not any(other == _EW for other, _ in lines):
        baseline = next((line.get("baseline", "") for line in lines.values()), "")
    tasks = run_tasks.described(data.benchmark)
    lines[name, choice.seed] = {
        "name": name,
        "method": METHOD,
        "seed": choice.seed,
        "baseline": baseline or _EW,
        "preset": "",
        "overrides": {"benchmark": data.benchmark.name},
        "command": command,
        "environment": metrics_log.environment([]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        **({} if tasks is None else {"tasks": tasks}),
        "results": files.plain(dict(content)),
    }
    text = "".join(f"{json.dumps(line)}\n" for line in lines.values())
    files.write_text(directory / sweep.RESULTS, text)
