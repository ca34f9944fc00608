"""Fetches or copies the benchmarks and shows their rows beside the paper's Table 9.

Lines below name the tasks that have test or validation texts in training, too.

  mtra-jax prepare --data_dir data --download
  mtra-jax prepare --data_dir data --from_dir some/other/root
  mtra-jax prepare --data_dir data --benchmark tweeteval

A download takes TweetEval and EmoBank from a fixed commit and checks the SHA-256 of every
file. The last form only checks what is there. Exit status: 0, or 2 with one line on
stderr.
"""

from collections.abc import Sequence

from mtra_jax import cli

ALL = "all"


def main(arguments: Sequence[str]) -> None:
    """Fetches or copies what the flags ask for, and prints the counts."""
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--data_dir", required=True, help="the data root")
    parser.add_argument(
        "--benchmark", choices=("tweeteval", "affecteval", ALL), default=ALL
    )
    origin = parser.add_mutually_exclusive_group()
    origin.add_argument("--from_dir", help="a data root to copy the files from")
    origin.add_argument(
        "--download",
        action="store_true",
        help="fetch from the publishers what the data root lacks",
    )
    flags = cli.parse(parser, arguments)
    cli.output_directory(flags.data_dir)

    from mtra_jax.data.built_in import fetch, sources
    from mtra_jax.data.splits import shared_texts
    from mtra_jax.tasks import AFFECTEVAL, BENCHMARKS, TWEETEVAL, Benchmark

    if flags.benchmark == ALL:
        # Both benchmarks have EmotionEval; it is prepared once.
        tasks = dict.fromkeys(TWEETEVAL.tasks + AFFECTEVAL.tasks)
        benchmark = Benchmark(ALL, tuple(tasks))
    else:
        benchmark = BENCHMARKS[flags.benchmark]
    if flags.download:
        fetch.download_benchmark(benchmark, flags.data_dir)
    elif flags.from_dir is not None:
        fetch.copy_benchmark(benchmark, flags.from_dir, flags.data_dir)
    examples = sources.load_benchmark(benchmark, flags.data_dir)
    print(fetch.count_table(benchmark, examples))
    for name, splits in examples.items():
        if line := shared_texts.line(splits):
            print(f"{name}: {line}")
