"""Your own tasks, defined in a TOML file beside their data.

    python scripts/train.py --config configs/own.py:tasks=my/tasks.toml --workdir runs/mine \
        --config.backbone.path=DIR_OR_HUB_NAME

README.md shows such a file. MTRA trains unless `--config.method.name` chooses another
method. Its values are those of the paper's Table 10 for RoBERTa on TweetEval, but for ε,
which is that for BERT. Regression targets are standardized, and heads start at the base
rates of the labels, unlike in the presets of the papers.

Costs and scores: five tasks of 2,000 examples at most, MiniLM, 3 epochs at 5e-4 with batches
of 32: Avg. 50.94 (EW 49.54, majority 23.46; `results/real_data.md`), about 20 examples/s on two
cores of an AMD EPYC (27 November 2026). Other tasks: not measured.
"""

from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from mtra_jax import config, config_files, errors, paths, tasks
from mtra_jax.data.own_tasks import task_file

MTRA = config_files.execute(str(Path(__file__).with_name("mtra.py")))
KEY = "tasks"


def values(path: str) -> dict[str, Any]:
    """Returns the values of the tasks in the file `path`, by dotted key.

    Without a path the tasks are given in Python, and their names have to be set.
    """
    return {
        **MTRA.values("roberta_tweeteval"),
        "benchmark": tasks.OWN,
        # RoBERTa's 5 is too long for encoders with small word embeddings: MiniLM's
        # representations of all texts became equal within 100 steps of 5e-4.
        "method.epsilon": 1.0,
        "data.tasks": path,
        "tasks": task_file.names(path) if path else (),
        "data.standardize": True,
        "heads.start": "base_rate",
    }


def get_config(spec: str) -> ConfigDict:
    """Returns the configuration of `tasks=FILE`.

    Raises:
      InputError: `spec` is not of this form, or the file does not define tasks.
    """
    key, _, path = spec.partition("=")
    if key != KEY or not path:
        raise errors.InputError(
            f"{errors.shown(spec)}; expected {KEY}=FILE, as in configs/own.py:{KEY}=my/tasks.toml"
        )
    return config.make("mtra", values(paths.expand(path)))
