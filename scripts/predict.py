"""Labels texts with a trained model: one text a line in, one JSON object a line out.

python scripts/predict.py --workdir runs/tiny --task polarity < texts.txt
"""

import json
from collections.abc import Sequence

import numpy as np
import tqdm

from mtra_jax import cli, files
from mtra_jax.tasks import Task

CHUNK = 4096
"""Texts read, and packed together, at a time."""


def main(arguments: Sequence[str]) -> None:
    parser = cli.Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", required=True, help="the directory of a run")
    parser.add_argument("--task", required=True)
    parser.add_argument("--input", help="a file; standard input if not given")
    parser.add_argument(
        "--cache_dir", help="instead of ~/.cache/mtra_jax; none if empty"
    )
    flags = cli.parse(parser, arguments)
    workdir = cli.existing_directory(flags.workdir)

    from mtra_jax.runs import scoring
    from mtra_jax.train.devices import start_devices

    start_devices()
    saved = scoring.load(workdir, flags.task, flags.cache_dir)
    names = saved.benchmark.task_names
    task = saved.benchmark.tasks[names.index(flags.task)]
    predict = scoring.make_predictor(saved, task.name)
    texts = files.read_lines(flags.input)
    # Delayed and then removed, so that it does not stand beside an error message.
    shown = {"delay": 1, "leave": False, "disable": flags.input is None}
    with tqdm.tqdm(unit="text", **shown) as bar:
        for chunk in files.chunks(texts, CHUNK):
            for outputs in predict(chunk):
                record = as_record(task, outputs)
                print(json.dumps(files.plain(record), ensure_ascii=False))
            bar.update(len(chunk))


def as_record(task: Task, outputs) -> dict:
    figures = {
        name: round(float(value), 6)
        for name, value in zip(task.labels, outputs, strict=True)
    }
    if task.is_classification:
        is_sound = np.isfinite(outputs).all()
        label = task.labels[outputs.argmax()] if is_sound else None
        return {"label": label, "probabilities": figures}
    return {"values": figures}


if __name__ == "__main__":
    cli.run(main)
