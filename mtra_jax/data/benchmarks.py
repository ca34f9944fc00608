"""A data directory and options -> examples and tokens of every split."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from mtra_jax.data.built_in import hub, sources, synthetic
from mtra_jax.data.own_tasks import task_file
from mtra_jax.data.packed import batches
from mtra_jax.data.packed.batches import Corpus
from mtra_jax.data.splits import noise
from mtra_jax.data.splits.examples import SPLITS, Data, Examples, Splits, take
from mtra_jax.data.tokenizing import tokens
from mtra_jax.errors import InputError, did_you_mean, shown
from mtra_jax.tasks import BENCHMARKS, OWN, Benchmark, Task

HUB = "hub"


def load(
    name: str,
    names: Sequence[str] = (),
    *,
    data_dir: str = "",
    task_path: str = "",
) -> Data:
    """The tasks `names` of benchmark `name` (all of them if empty), with all splits.

    `task_path`: the TOML file of own tasks. `data_dir`: see `read_examples`.

    Raises:
      InputError: an unknown benchmark or task; the data are missing or invalid.
    """
    if name == OWN:
        return task_file.load(task_path, tuple(names))
    benchmark = choose_benchmark(name, ",".join(names))
    return Data(benchmark, read_examples(benchmark, data_dir))


def choose_benchmark(name: str, tasks: str = "") -> Benchmark:
    """The benchmark `name`; only the tasks in `tasks`, separated by commas, if given.

    Raises:
      InputError: an unknown benchmark or task.
    """
    if name not in BENCHMARKS:
        raise InputError(
            f"unknown benchmark {shown(name)}; {did_you_mean(name, BENCHMARKS)}"
        )
    benchmark = BENCHMARKS[name]
    return (
        benchmark.select([t.strip() for t in tasks.split(",")]) if tasks else benchmark
    )


def read_examples(
    benchmark: Benchmark,
    data_dir: str,
    splits: Sequence[str] = SPLITS,
    task_path: str = "",
) -> Splits:
    """Reads splits of a benchmark from files or the hub, or generates the synthetic one.

    `task_path`: the TOML file of own tasks, whose labels are those of `benchmark`.

    Raises:
      InputError: the data are missing or invalid.
    """
    if benchmark.name == OWN:
        return task_file.read(task_path, benchmark, splits)
    if benchmark.name == "synthetic":
        # The data do not depend on the seed of the run.
        sizes = {name: synthetic.DEFAULT_SIZES[name] for name in benchmark.task_names}
        made = synthetic.generate(seed=0, sizes=sizes)
        return {
            name: {split: parts[split] for split in splits}
            for name, parts in made.items()
        }
    if data_dir == HUB:
        return hub.load_hub(benchmark, splits=splits)
    if not data_dir:
        raise InputError(
            f"data.dir is empty; {benchmark.name} needs --config.data.dir=DIR, a "
            "directory that `mtra-jax prepare` wrote, or --config.data.dir=hub"
        )
    return sources.load_benchmark(benchmark, data_dir, splits)


def thin(
    benchmark: Benchmark,
    examples: Splits,
    *,
    fraction: float = 1.0,
    label_noise: float = 0.0,
    limit: int = 0,
    seed: int = 0,
) -> Splits:
    """Draws a random `fraction` of each task's training examples, and adds label noise.

    A share `label_noise` of the drawn examples gets a new label (MTRA, appendix C.3 and
    C.4). Validation and test stay complete. Then `limit_examples` caps all splits.
    """
    thinned = {}
    for task in benchmark.tasks:
        # Seeded by the name: the other chosen tasks do not change the examples.
        rng = np.random.default_rng([seed, *task.name.encode()])
        train = examples[task.name]["train"]
        drawn = noise.subsample(len(train.texts), fraction, rng)
        num_classes = task.num_outputs if task.is_classification else None
        labels = noise.flip_labels(train.labels[drawn], num_classes, label_noise, rng)
        thinned[task.name] = {
            **examples[task.name],
            "train": take(train, drawn)._replace(labels=labels, targets=()),
        }
    return limit_examples(benchmark, thinned, limit)


def limit_examples(benchmark: Benchmark, examples: Splits, limit: int) -> Splits:
    """At most `limit` examples of each split of each task, for smoke runs; 0 for all.

    The choice depends on the task, the split, its labels and `limit`, not on the seed of
    a run: runs with several seeds, and a later evaluation, see the same examples. They
    are chosen by `noise.spread`, and stay in their order.
    """
    if not limit:
        return examples
    limited: Splits = {}
    for task in benchmark.tasks:
        limited[task.name] = {}
        for split, part in examples[task.name].items():
            rng = np.random.default_rng([*task.name.encode(), 0, *split.encode()])
            classes = part.labels if task.is_classification else None
            rows = noise.spread(len(part.texts), limit, classes, rng)
            limited[task.name][split] = take(part, rows)
    return limited


def train_texts(benchmark: Benchmark, examples: Splits) -> list[str]:
    """The training texts of all tasks, on which a new tokenizer is trained.

    First and second texts of pairs are separate texts.
    """
    parts = [examples[name]["train"] for name in benchmark.task_names]
    return [text for part in parts for text in (*part.texts, *part.second_texts)]


def build_corpora(
    benchmark: Benchmark,
    examples: Splits,
    tokenizer: Tokenizer,
    *,
    max_length: int,
    cache_dir: str | Path | None,
    splits: tuple[str, ...] = SPLITS,
) -> Mapping[str, Corpus]:
    """The tokens and targets of each split, with all tasks end to end.

    Raises:
      InputError: as `tokens.cached_encode`; or a task of pairs lacks second texts, or
        another task has some.
    """
    encode = functools.partial(tokens.cached_encode, cache_dir, tokenizer)
    corpora = {}
    for split in splits:
        mine = {name: examples[name][split] for name in benchmark.task_names}
        for task in benchmark.tasks:
            _check_second_texts(task, mine[task.name], split)
        if any(task.is_pair for task in benchmark.tasks):
            encoded = tokens.end_to_end(
                [encode(p.texts, max_length, p.second_texts) for p in mine.values()]
            )
        else:
            texts = [text for part in mine.values() for text in part.texts]
            encoded = encode(texts, max_length)
        corpora[split] = batches.build_corpus(benchmark, mine, encoded)
    return corpora


def _check_second_texts(task: Task, part: Examples, split: str) -> None:
    expected = len(part.texts) if task.is_pair else 0
    if (count := len(part.second_texts)) != expected:
        raise InputError(
            f"{task.name}, {split}: {len(part.texts)} texts, {count} second texts; "
            f"expected {expected} second texts, because is_pair is {task.is_pair}"
        )
