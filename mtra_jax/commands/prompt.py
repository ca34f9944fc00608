"""Asks a language model about the test texts, with or without demonstrations.

mtra-jax prompt --endpoint http://localhost:8000/v1 --model NAME --benchmark tweeteval \\
    --data_dir data --workdir runs/lm [--demonstrations 4] [--seed 0] [--dry_run]
mtra-jax prompt --model DIR --tasks my/tasks.toml --workdir runs/lm [--limit 100]

Without --endpoint the model is a local directory, read with PyTorch (`pip install
torch`). Replies are stored in answers.jsonl of the work directory: the same
command continues, and nothing is asked twice. --sweep DIR makes the run a row of a sweep
or experiment. The texts are sent to the endpoint.
"""

import argparse
import os
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mtra_jax import cli
from mtra_jax.commands import evaluate
from mtra_jax.errors import InputError, check_name

if TYPE_CHECKING:
    from mtra_jax.data.splits.examples import Data
    from mtra_jax.prompting.asking import Model


def main(arguments: Sequence[str]) -> None:
    """Scores the replies of a model, and prints the figures."""
    flags = cli.parse(_parser(), arguments)
    _check(flags)
    workdir = cli.output_directory(flags.workdir)
    model = model_of(flags)

    import jax

    # Nothing is computed with JAX: a GPU is left to the language model.
    jax.config.update("jax_platforms", "cpu")
    from mtra_jax.prompting import prompts, stored_replies
    from mtra_jax.reports.comparisons import unread
    from mtra_jax.reports.formatting import tables
    from mtra_jax.reports.progress import text_counts
    from mtra_jax.runs.directory import locks
    from mtra_jax.runs.studies import prompted

    data = read_data(flags)
    choice = prompted.Choice(flags.demonstrations, flags.seed)
    asked = prompted.prepare(data, choice)
    name = flags.name or prompted.row_name(model.name, choice)
    check_name(name, "--name")
    sweep = cli.output_directory(flags.sweep) if flags.sweep else None
    if sweep:
        prompted.check_place(sweep, data)
    path = workdir / stored_replies.FILE
    places = [workdir, sweep] if sweep else [workdir]
    if flags.dry_run:
        for place in places:
            locks.check_usable(place)
        print(prompted.listing(asked, model, stored_replies.read(path)))
        first = prompts.text_of(next(iter(asked.values())).prompts[0])
        print(f"\nthe first prompt:\n\n{first}")
        return
    with (
        locks.held_together(places),
        stored_replies.opened(path) as store,
        text_counts.shown(is_quiet=False) as count,
    ):
        content = prompted.run(model, data, choice, workdir, store, count)
        if sweep:
            command = shlex.join([*cli.command("prompt"), *arguments])
            prompted.record(sweep, name, choice, data, content, command)
    rows = {"majority": content["majority"], name: content["test"]}
    print(tables.score_table(rows, data.benchmark.tasks))
    print(unread.note([(name, content)]))
    print(f"files in {workdir}")


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that `model_of` reads."""
    parser.add_argument(
        "--model",
        default="",
        metavar="NAME_OR_DIR",
        help="a model of the endpoint, or a local directory that transformers reads",
    )
    parser.add_argument(
        "--endpoint",
        default="",
        metavar="URL",
        help="an OpenAI-compatible server, such as http://localhost:8000/v1",
    )
    parser.add_argument(
        "--key_env",
        default="",
        metavar="NAME",
        help="environment variable with the key of the endpoint; none is sent without it",
    )
    parser.add_argument(
        "--max_tokens", type=int, default=32, help="of a reply; default: 32"
    )
    parser.add_argument(
        "--concurrency", type=int, default=4, help="requests at a time; default: 4"
    )
    parser.add_argument(
        "--timeout", type=float, default=60.0, help="seconds of a request; default: 60"
    )


def model_of(flags: argparse.Namespace) -> "Model":
    """The language model that the flags of `add_model_flags` name.

    Raises:
      InputError: a flag is missing or does not fit.
    """
    if not flags.model:
        raise InputError("no --model; expected a name with --endpoint, or a directory")
    check_name(flags.model, "--model")
    for name, least in (("max_tokens", 1), ("concurrency", 1), ("timeout", 0.001)):
        if not least <= getattr(flags, name) < 1e9:
            raise InputError(
                f"--{name} {getattr(flags, name)}; expected at least {least}"
            )
    if not flags.endpoint:
        if flags.key_env:
            raise InputError(f"--key_env {flags.key_env} without --endpoint URL")
        from mtra_jax.prompting import local

        directory = cli.existing_directory(flags.model)
        return local.LocalModel(directory, flags.max_tokens)
    from mtra_jax.prompting import endpoint

    key = os.environ.get(flags.key_env, "") if flags.key_env else ""
    if flags.key_env and not key:
        raise InputError(
            f"--key_env {flags.key_env}: not set or empty; expected the environment "
            "variable with the key"
        )
    return endpoint.Endpoint(
        flags.endpoint,
        flags.model,
        key,
        max_tokens=flags.max_tokens,
        timeout=flags.timeout,
        concurrency=flags.concurrency,
    )


def read_data(flags: argparse.Namespace) -> "Data":
    """The training and test examples; `--limit` caps the latter.

    They are those that runs with `data.limit` are tested on.

    Raises:
      InputError: the data are missing or invalid.
    """
    from mtra_jax import metrics
    from mtra_jax.data import benchmarks
    from mtra_jax.data.own_tasks import task_file
    from mtra_jax.data.splits.examples import Data

    splits = ("train", "test")
    if evaluate.is_file(flags.tasks):
        data = task_file.load(flags.tasks, splits=splits)
    else:
        benchmark = benchmarks.choose_benchmark(flags.benchmark, flags.tasks)
        data = Data(
            benchmark, benchmarks.read_examples(benchmark, flags.data_dir, splits)
        )
    metrics.check_metrics(data.benchmark.tasks)
    tests = {task: {"test": parts["test"]} for task, parts in data.splits.items()}
    limited = benchmarks.limit_examples(data.benchmark, tests, flags.limit)
    own = {task: {**data.splits[task], **limited[task]} for task in data.splits}
    return Data(data.benchmark, own)


def _check(flags: argparse.Namespace) -> None:
    if not evaluate.is_file(flags.tasks) and not flags.benchmark:
        raise InputError("expected either --benchmark NAME or --tasks FILE.toml")
    if evaluate.is_file(flags.tasks):
        for name in ("benchmark", "data_dir"):
            if getattr(flags, name):
                raise InputError(
                    f"--{name} {getattr(flags, name)} with --tasks {flags.tasks}; that "
                    "file names the data, expected only one of them"
                )
    for name in ("demonstrations", "seed", "limit"):
        if getattr(flags, name) < 0:
            raise InputError(f"--{name} {getattr(flags, name)}; expected 0 or more")


def _parser() -> argparse.ArgumentParser:
    parser = cli.Parser(description=__doc__)
    add_model_flags(parser)
    parser.add_argument(
        "--benchmark", default="", help="tweeteval, affecteval or synthetic"
    )
    parser.add_argument(
        "--tasks",
        default="",
        help="FILE.toml, your tasks; or tasks of the benchmark, names separated by "
        "commas, all if empty",
    )
    parser.add_argument(
        "--data_dir", default="", help="root of the benchmarks' files, or hub"
    )
    parser.add_argument("--workdir", required=True, help="the directory of the run")
    parser.add_argument(
        "--demonstrations",
        type=int,
        default=0,
        metavar="K",
        help="training examples in each prompt; default: 0, zero-shot",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="draws the demonstrations; default: 0"
    )
    parser.add_argument(
        "--limit", type=int, default=0, help="of test examples of a task; 0 for all"
    )
    parser.add_argument(
        "--sweep",
        default="",
        metavar="DIR",
        help="directory of a sweep or experiment, whose table gets the run as a row",
    )
    parser.add_argument("--name", default="", help="of that row")
    parser.add_argument(
        "--dry_run", action="store_true", help="counts the prompts, asks nothing"
    )
    return parser
