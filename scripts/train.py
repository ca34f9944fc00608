"""Trains a method on a benchmark, or continues a run that was stopped.

    python scripts/train.py --config configs/mtra.py:tiny_synthetic --workdir runs/tiny \
        [--config.epochs=3] [--config.data.fraction=0.1]
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from mtra_jax import cli
from mtra_jax.reports import progress, tables
from mtra_jax.train import build, loop, parallel, session


def main(arguments: Sequence[str]) -> None:
    parser = cli.Parser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--workdir", required=True, help="where the run leaves its files"
    )
    parser.add_argument(
        "--distributed",
        action="store_true",
        help="join the other processes of a pod or cluster, each running this command",
    )
    parser.add_argument("--coordinator", help="HOST:PORT of process 0, where not found")
    parser.add_argument("--num_processes", type=int, help="of them, where not found")
    parser.add_argument("--process_id", type=int, help="of this one, where not found")
    flags, config = cli.with_config(parser, arguments)
    if flags.distributed:
        parallel.initialise(flags.coordinator, flags.num_processes, flags.process_id)
    bars = []

    def watch_of(prepared: build.Prepared, at: loop.Progress) -> loop.Watch:
        if not parallel.is_writer():
            return loop.Watch(lambda *_: None, lambda *_: None)
        watch, bar = make_watch(prepared, at)
        bars.append(bar)
        return watch

    try:
        outcome = session.train(config, Path(flags.workdir), watch_of)
    except loop.TrainingError as error:
        sys.exit(f"error: {error}")
    finally:
        for bar in bars:
            bar.close()
    if parallel.is_writer():
        report(outcome, flags.workdir)


def make_watch(prepared: build.Prepared, at: loop.Progress):
    run = prepared.run
    tasks = run.benchmark.tasks
    counts = ", ".join(
        f"{name} {size}"
        for name, size in zip(
            run.benchmark.task_names, run.train.corpus.sizes, strict=True
        )
    )
    steps = run.schedule.steps_per_epoch
    print(f"training examples: {counts}; {steps} steps an epoch", flush=True)
    if at.step:
        print(f"continuing at step {at.step}", flush=True)
    bar = progress.TrainingBar(
        tasks,
        total=run.schedule.epochs * steps,
        initial=at.step,
        epochs=run.schedule.epochs,
        say=lambda text: print(text, flush=True),
    )

    def after_epoch(epoch, loss, summary, at):
        note = ", best so far" if at.stale_epochs == 0 else ""
        bar.epoch(epoch, loss, summary, note)

    return loop.Watch(bar.step, after_epoch, progress.evaluation_bar), bar


def report(outcome: session.Outcome, workdir: str) -> None:
    results = outcome.results
    rows = {
        "majority (test)": outcome.majority,
        "validation": results["validation"],
        "test": results["test"],
    }
    print(f"\nbest epoch {results['best_epoch']} of {results['epochs']}")
    print(tables.score_table(rows, outcome.benchmark.tasks))
    print(f"{results['train_seconds']:.0f} s of training; files in {workdir}")


if __name__ == "__main__":
    cli.run(main)
