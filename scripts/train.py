"""Trains a method on a benchmark, or continues a run that was stopped.

    python scripts/train.py --config configs/mtra.py:tiny_synthetic --workdir runs/tiny \
        [--config.epochs=3] [--config.data.fraction=0.1]
"""

from collections.abc import Sequence
from pathlib import Path

from mtra_jax import cli
from mtra_jax.reports import progress, tables
from mtra_jax.train import build, loop, parallel, runs, session, signals, terminal


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
    workdir = cli.output_directory(flags.workdir)
    if flags.distributed:
        parallel.initialise(flags.coordinator, flags.num_processes, flags.process_id)
    with signals.caught(parallel.own_signals()) as requests:
        should_stop = parallel.stop_together(requests.should_stop)
        shown = terminal.Terminal(progress.write_line, should_stop=should_stop)

        def watch_of(prepared: build.Prepared, at: loop.Progress) -> loop.Watch:
            if parallel.is_writer():
                return shown.watch(prepared, at)
            return loop.Watch(lambda *_: None, lambda *_: None, should_stop=should_stop)

        try:
            outcome = runs.train(config, workdir, watch_of)
        except loop.TrainingError as error:
            parallel.leave(cli.fail(error, 1))
        except loop.Stopped as stopped:
            cli.stop(f"{stopped}, saved; the same command continues", requests.signal)
        finally:
            shown.close()
    if parallel.is_writer():
        report(outcome, workdir)


def report(outcome: session.Outcome, workdir: Path) -> None:
    results = outcome.results
    rows = {
        "majority (test)": results["majority"],
        "validation": results["validation"],
        "test": results["test"],
    }
    print(f"\nbest epoch {best_epochs(results)}")
    print(tables.score_table(rows, outcome.benchmark.tasks))
    print(f"{results['train_seconds']:.0f} s of training; files in {workdir}")


def best_epochs(results) -> str:
    best, last = results["best_epoch"], results["epochs"]
    if not isinstance(best, dict):
        return f"{best} of {last}"
    return ", ".join(f"{task} {epoch} of {last[task]}" for task, epoch in best.items())


if __name__ == "__main__":
    cli.run(main, parallel.leave)
