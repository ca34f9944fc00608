"""The facts about a finished run -> `README.md`, the card of its exported model."""

import json
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from mtra_jax.data.built_in import hub
from mtra_jax.exports import onnx_file, pytorch
from mtra_jax.methods import registry
from mtra_jax.reports.formatting import tables
from mtra_jax.reports.progress import end_of_run
from mtra_jax.tasks import TWEETEVAL, Benchmark

FILE = "README.md"
NO_LICENCE = "not-stated"
TEXT, PAIR = '["a text"]', '[("first text", "second text")]'


class Facts(NamedTuple):
    """The content of a model card.

    `name`: its title. `results`: as in `results.json`. `about`: as in `mtra_jax.json`.
    `hidden_size`: of z. `licence`: an identifier of the hub; empty if none was chosen.
    `has_onnx`: whether `model.onnx` is there.
    """

    name: str
    benchmark: Benchmark
    results: Mapping[str, Any]
    about: Mapping[str, Any]
    hidden_size: int
    licence: str = ""
    has_onnx: bool = False


def text(facts: Facts, names_of_weights: Collection[str]) -> str:
    """Returns the card. `names_of_weights`: of the tensors in `heads.safetensors`."""
    sections = (
        _front_matter(facts),
        f"# {tables.escaped(facts.name)}\n\n{_summary(facts)}",
        f"## Tasks and data\n\n{_data(facts)}",
        f"## Figures\n\n{_figures(facts)}",
        f"## How to load\n\n{_loading(facts, names_of_weights)}",
        f"## Training\n\n{_training(facts)}",
        f"## Limits\n\n{_limits(facts)}",
        f"## Licence\n\n{_licence(facts)}",
    )
    return "\n\n".join(sections) + "\n"


def _front_matter(facts: Facts) -> str:
    """The metadata that the hub reads. JSON's strings and lists are YAML's too."""
    tasks = facts.benchmark.tasks
    values: dict[str, Any] = {"license": facts.licence or "other"}
    if not facts.licence:
        values["license_name"] = NO_LICENCE
    values["library_name"] = "mtra_jax"
    if any(task.kind != "regression" for task in tasks):
        values["pipeline_tag"] = "text-classification"
    if "/" in facts.about["backbone"]:
        values["base_model"] = facts.about["backbone"]
    if datasets := _hub_datasets(facts.benchmark):
        values["datasets"] = datasets
    metrics = dict.fromkeys(metric for task in tasks for metric in task.metrics)
    values["metrics"] = list(metrics)
    values["tags"] = ["multi-task", facts.about["method"]["name"]]
    lines = [f"{key}: {json.dumps(value)}" for key, value in values.items()]
    return "\n".join(["---", *lines, "---"])


def _hub_datasets(benchmark: Benchmark) -> list[str]:
    """The names on the hub of the built-in benchmarks' data."""
    if benchmark.name not in ("tweeteval", "affecteval"):
        return []
    keys = [
        "tweeteval" if name in TWEETEVAL.task_names else name
        for name in benchmark.task_names
    ]
    names = [hub.HUB_DATASETS[key] for key in keys if key in hub.HUB_DATASETS]
    return list(dict.fromkeys(names))


def _summary(facts: Facts) -> str:
    options = facts.about["method"]
    method = registry.title(options["name"], options)
    backbone = facts.about["backbone"]
    start = f"`{backbone}`" if backbone else "a new encoder"
    tasks = facts.benchmark.tasks
    number = f"{len(tasks)} tasks" if len(tasks) > 1 else "one task"
    return (
        f"An encoder with a linear head for each task, trained from {start} on {number} "
        f"by {method} with `mtra_jax`."
    )


def _data(facts: Facts) -> str:
    lines = [
        "| task | kind | outputs | train | validation | test |",
        "|" + " --- |" * 6,
    ]
    for task in facts.benchmark.tasks:
        counts = facts.results["examples"].get(task.name, {})
        cells = [
            f"{tables.escaped(task.title)} (`{task.name}`)",
            task.kind.replace("_", "-") + (", pairs" if task.is_pair else ""),
            tables.escaped(", ".join(task.labels)),
            *(str(counts.get(s, "-")) for s in ("train", "validation", "test")),
        ]
        lines.append(_row(cells))
    title = f"Examples of the benchmark `{facts.benchmark.name}`"
    if facts.benchmark.name == "own":
        title = "Examples of the author's data"
    return "\n".join([f"{title}:\n", *lines])


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _figures(facts: Facts) -> str:
    results, tasks = facts.results, facts.benchmark.tasks
    rows = {
        "majority": results["majority"],
        "validation": results["validation"],
        "test": results["test"],
    }
    return (
        f"{tables.markdown_table(rows, tasks)}\n\n"
        f"One run, of seed {facts.about['hyper_parameters'].get('seed')}; its best epoch "
        f"by the validation, {end_of_run.best_epochs(results)}. The row `majority` has the "
        "test figures without a model. "
        f"{end_of_run.legend(tasks, has_ew=False)}."
    )


def _loading(facts: Facts, names_of_weights: Collection[str]) -> str:
    tasks = facts.benchmark.tasks
    example = PAIR if tasks[0].is_pair else TEXT
    calls = [
        f"model.predict({shown}, task={json.dumps(names[0])})"
        for shown, is_pair in ((TEXT, False), (PAIR, True))
        if (names := [t.name for t in tasks if t.is_pair == is_pair])
    ]
    lines_of_calls = "\n".join(calls)
    length = facts.about["evaluation"]["data.max_length"]
    code = pytorch.lines(names_of_weights, length)
    onnx = ""
    if facts.has_onnx:
        lines = onnx_file.lines(length, example)
        onnx = f"With onnxruntime, in this directory:\n\n```python\n{lines}```\n\n"
    return f"""\
With `mtra_jax`:

```python
import mtra_jax

model = mtra_jax.load("DIRECTORY")  # with this file
{lines_of_calls}
model.encode({example})  # z
```

With PyTorch, `transformers` and `safetensors` alone:

```python
{code}```

{onnx}\
`encoder/` is an encoder without a classifier. `AutoModel` and sentence-transformers load it;
`AutoModelForSequenceClassification` would add a new, untrained classifier: the trained ones
are in `heads.safetensors`, and the lines above use them. z is the last hidden state of the
first token, which in sentence-transformers is the pooling `cls`, not its default:

```python
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Pooling, Transformer

transformer = Transformer("DIRECTORY/encoder", max_seq_length={length})
pooling = Pooling({facts.hidden_size}, pooling_mode="cls")
model = SentenceTransformer(modules=[transformer, pooling])
model.encode(["a text"])  # z, to 1e-5
```"""


def _training(facts: Facts) -> str:
    method = dict(facts.about["method"])
    name = method.pop("name")
    values = {
        "method": name,
        **{f"method.{key}": value for key, value in method.items()},
        **facts.about["hyper_parameters"],
    }
    rows = [
        _row([f"`{key}`", f"`{json.dumps(value)}`"]) for key, value in values.items()
    ]
    rows += [
        _row([f"`{key}` of `{task.name}`", f"`{json.dumps(value)}`"])
        for task in facts.benchmark.tasks
        if task.is_classification
        for key, value in (
            ("class_weights", list(task.class_weights) or "none"),
            ("label_smoothing", task.label_smoothing or 0.0),
        )
        if value != values.get(key, value)
    ]
    versions = ", ".join(
        f"{package} {version}"
        for package, version in facts.about["versions"].items()
        if version
    )
    results = facts.results
    return "\n".join(
        [
            f"{results['steps']} steps, {results['train_seconds']:.0f} s. "
            f"Versions: {versions or 'not recorded'}.\n",
            "| key | value |",
            "| --- | --- |",
            *rows,
        ]
    )


def _limits(facts: Facts) -> str:
    length = facts.about["evaluation"]["data.max_length"]
    lines = [
        f"Texts are cut after {length} tokens, special tokens included.",
        "The figures are those of the test sets above. Texts of another language, source "
        "or time were not tested.",
    ]
    kinds = {task.kind for task in facts.benchmark.tasks}
    if kinds & {"classification", "multi_label"}:
        lines.append("Probabilities are not calibrated.")
    if "classification" in kinds:
        lines.append(
            "Every text gets one of the labels of a classification, also a text that fits "
            "none."
        )
    if "multi_label" in kinds:
        lines.append(
            "A label of a multi-label task is predicted from its threshold in `tasks.json` "
            "on, not from 0.5."
        )
    lines.append(
        "The model repeats biases of its data and of its backbone. Nobody checked which."
    )
    return "\n".join(f"* {line}" for line in lines)


def _licence(facts: Facts) -> str:
    if facts.licence:
        return f"`{facts.licence}`, as stated by the author of the model."
    return (
        "Not stated. The licences of the backbone and of the data apply; the author of the "
        f"model sets `license` above in place of `{NO_LICENCE}`."
    )
