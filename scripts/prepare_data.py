"""Fetches or copies the benchmarks and shows their rows beside the paper's Table 9.

    python scripts/prepare_data.py --data_dir data --download
    python scripts/prepare_data.py --data_dir data --from_dir some/other/root
    python scripts/prepare_data.py --data_dir data --benchmark tweeteval

A download takes TweetEval and EmoBank from a fixed commit and checks the SHA-256 of every
file. The last form only checks what is there. Exit status: 0, or 2 with one line on
stderr.
"""

import argparse
from collections.abc import Sequence

from mtra_jax import cli
from mtra_jax.data import fetch, sources
from mtra_jax.tasks import AFFECTEVAL, TWEETEVAL, Benchmark

BENCHMARKS = {
    "tweeteval": TWEETEVAL,
    "affecteval": AFFECTEVAL,
    # Both benchmarks have EmotionEval; it is prepared once.
    "all": Benchmark("all", tuple(dict.fromkeys(TWEETEVAL.tasks + AFFECTEVAL.tasks))),
}


def parse_flags(arguments: Sequence[str]) -> argparse.Namespace:
    parser = cli.Parser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data_dir", required=True, help="the data root")
    parser.add_argument("--benchmark", choices=BENCHMARKS, default="all")
    origin = parser.add_mutually_exclusive_group()
    origin.add_argument("--from_dir", help="a data root to copy the files from")
    origin.add_argument(
        "--download",
        action="store_true",
        help="fetch from the publishers what the data root lacks",
    )
    return cli.parse(parser, arguments)


def main(arguments: Sequence[str]) -> None:
    flags = parse_flags(arguments)
    cli.output_directory(flags.data_dir)
    benchmark = BENCHMARKS[flags.benchmark]
    if flags.download:
        fetch.download_benchmark(benchmark, flags.data_dir)
    elif flags.from_dir is not None:
        fetch.copy_benchmark(benchmark, flags.from_dir, flags.data_dir)
    examples = sources.load_benchmark(benchmark, flags.data_dir)
    print(fetch.count_table(benchmark, examples))


if __name__ == "__main__":
    cli.run(main)
