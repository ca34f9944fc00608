"""Real tweets -> texts a second of `mtra-jax predict`'s predictor, in turns with PyTorch's.

    python scripts/benchmarking/prediction_speed.py --data_dir data --backbone minilm-l6 \
        [--texts 4000] [--part 1000] [--threads 2]

The tweets are predicted in parts of about a chunk of the command, each by both sides in
turns, after a warm-up. Both turn the same texts into the outputs of TweetEval's six tasks,
from tokenising on, with the same new heads. PyTorch runs as a careful user would: texts
sorted by length, batches of 64 padded to their longest text, no gradients.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np
import timing
import torch
import torch_step
import transformers

from mtra_jax import cli
from mtra_jax import config as configs
from mtra_jax.data.built_in import sources
from mtra_jax.data.splits import texts
from mtra_jax.runs.directory import best_model
from mtra_jax.runs.trained import prediction
from mtra_jax.runs.training import choices, inputs
from mtra_jax.tasks import TWEETEVAL, Benchmark
from mtra_jax.train import build
from mtra_jax.train.devices import start_devices

BATCH = 64
TOLERANCE = 1e-4
"""Largest difference between a probability of ours and of PyTorch's."""


def main(arguments: Sequence[str]) -> None:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--data_dir", required=True, help="root of TweetEval's files")
    parser.add_argument("--backbone", required=True, help="the directory of an encoder")
    parser.add_argument("--texts", type=int, default=4000, help="their number")
    parser.add_argument("--part", type=int, default=1000, help="texts of a turn")
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch")
    flags = cli.parse(parser, arguments)
    start_devices()
    torch.set_num_threads(flags.threads)
    saved = untrained(flags.backbone)
    tweets = read_tweets(flags.data_dir, flags.texts)
    ours = prediction.Predictor([saved])
    theirs = torch_predictor(saved, flags.backbone)
    first = tweets[: flags.part]  # with these our programs are compiled, too
    difference = largest_difference(ours(first), theirs(first))
    print(f"largest difference of a probability: {difference:.1e}", flush=True)
    if difference > TOLERANCE:
        sys.exit(f"error: expected at most {TOLERANCE:.0e}")
    starts = range(0, len(tweets), flags.part)
    parts = [tweets[start : start + flags.part] for start in starts]
    seconds = timing.in_turns({"ours": ours, "PyTorch": theirs}, parts)
    for name, values in seconds.items():
        print(f"{name}: {len(tweets) / values.sum():.0f} texts/s")
    ratio = timing.ratio(seconds["PyTorch"], seconds["ours"])
    print(
        f"ours is {ratio.total:.2f} times as fast (95 %: {ratio.low:.2f}, {ratio.high:.2f})"
    )
    one = timing.in_turns({"ours": lambda text: ours([text])}, tweets[:200])["ours"]
    print(f"one text: {1e3 * np.median(one[20:]):.1f} ms, median")


def read_tweets(data_dir: str, count: int) -> list[str]:
    """The first test tweets of the sentiment task."""
    task = Benchmark("tweeteval", TWEETEVAL.select(["sentiment"]).tasks)
    examples = sources.load_benchmark(task, data_dir, ["test"])
    return list(examples["sentiment"]["test"].texts[:count])


def untrained(backbone: str) -> best_model.Saved:
    """MTRA's model of TweetEval before training, with the encoder in `backbone`."""
    config = configs.preset("minilm_tweeteval", "mtra")
    config.backbone.path = backbone
    encoder = inputs.load_backbone(config, [])
    model = choices.make_model(config, TWEETEVAL, encoder.config)
    method = build.make_method(model, choices.method_of(config))
    params = build.init_params(model, method, encoder.params, jax.random.key(0))
    return best_model.Saved(config, TWEETEVAL, encoder, params, None)


def torch_predictor(
    saved: best_model.Saved, backbone: str
) -> Callable[[list[str]], dict[str, np.ndarray]]:
    """`predict(texts)` by transformers' model and our heads."""
    transformers.utils.logging.set_verbosity_error()
    encoder = torch_step.load_encoder(Path(backbone)).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(
        backbone, local_files_only=True, trust_remote_code=False
    )
    heads = [saved.params["heads"][name] for name in saved.benchmark.task_names]
    kernel = torch.from_numpy(np.concatenate([h["kernel"] for h in heads], axis=1))
    bias = torch.from_numpy(np.concatenate([h["bias"] for h in heads]))
    max_length = saved.config.data.max_length

    def predict(raw: list[str]) -> dict[str, np.ndarray]:
        cleaned = [texts.normalize(text) for text in raw]
        encoded = tokenizer(cleaned, truncation=True, max_length=max_length)
        order = np.argsort([len(ids) for ids in encoded["input_ids"]], kind="stable")
        outputs = np.zeros((len(raw), len(bias)), np.float32)
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            batch = tokenizer.pad(
                {"input_ids": [encoded["input_ids"][row] for row in rows]},
                return_tensors="pt",
            )
            with torch.no_grad():
                z = encoder(**batch).last_hidden_state[:, 0]
                outputs[rows] = (torch.relu(z) @ kernel + bias).numpy()
        benchmark = saved.benchmark
        return {
            task.name: prediction.in_units(task, outputs[:, benchmark.slots(task.name)])
            for task in benchmark.tasks
        }

    return predict


def largest_difference(
    first: dict[str, np.ndarray], second: dict[str, np.ndarray]
) -> float:
    """The largest difference between two predictions of the same texts."""
    return max(float(np.abs(first[name] - second[name]).max()) for name in first)


if __name__ == "__main__":
    cli.run(main)
