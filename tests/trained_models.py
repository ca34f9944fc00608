"""A small model of four own tasks, trained by the function that users call."""

import mtra_jax

WORDS = ("lovely", "nice", "good"), ("awful", "bad", "cold")


def examples(count):
    """(text, label) of each task; texts of even numbers are kind."""
    texts = [
        f"the {('room', 'food')[n % 3 == 0]} was {WORDS[n % 2][n % 3]}, day {n}"
        for n in range(count)
    ]
    kind = [n % 2 == 0 for n in range(count)]
    return {
        "mood": [(t, ("bad", "good")[k]) for t, k in zip(texts, kind, strict=True)],
        "topics": [
            (t, ["food" if "food" in t else "room", *(["staff"] if k else [])])
            for t, k in zip(texts, kind, strict=True)
        ],
        "stars": [
            (t, 70.0 + n % 7 if k else 30.0)
            for n, (t, k) in enumerate(zip(texts, kind, strict=True))
        ],
        "agree": [
            ((t, "it was good"), ("no", "yes")[k])
            for t, k in zip(texts, kind, strict=True)
        ],
    }


def own_tasks():
    """Tasks with examples, as `mtra_jax.train` takes them."""
    tasks = (
        mtra_jax.Task("mood", "Mood", "classification", ("bad", "good"), ("macro_f1",)),
        mtra_jax.Task(
            "topics", "Topics", "multi_label", ("room", "food", "staff"), ("micro_f1",)
        ),
        mtra_jax.Task("stars", "Stars", "regression", ("stars",), ("pearson",)),
        mtra_jax.Task(
            "agree",
            "Agree",
            "classification",
            ("no", "yes"),
            ("macro_f1",),
            is_pair=True,
        ),
    )
    parts = {"train": examples(40), "validation": examples(12), "test": examples(14)}
    return [
        (task, {split: part[task.name] for split, part in parts.items()})
        for task in tasks
    ]


SETTINGS = {
    "epochs": 2,
    "batch_size": 8,
    "devices": 1,
    "learning_rate": 1e-2,
    "checkpoint_every": 3,
    "data": {"max_length": 32, "max_shapes": 1, "cache_dir": ""},
    **{
        f"backbone.{key}": value
        for key, value in {
            "vocab_size": 200,
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "dropout": 0.0,
        }.items()
    },
}


def train(workdir, tasks=None, **changes):
    """Trains the small model, or one with other settings."""
    settings = {**SETTINGS, "backbone": "", "method": "ew", "quiet": True, **changes}
    tasks = own_tasks() if tasks is None else tasks
    return mtra_jax.train(tasks=tasks, workdir=workdir, **settings)
