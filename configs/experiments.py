"""The experiments of both papers: the rows of each table, and how much of it is trained.

    mtra-jax experiment NAME --workdir runs/paper [--scale small] [--data_dir data]

Experiments with the same work directory share their runs: the trials of a row have its
name, and a row with the preset's own values has that of the method. `SCALES` says what each
scale changes in the presets of `configs/mtra.py`. Hardware, time and score: not measured.
"""

from pathlib import Path

from mtra_jax import config_files
from mtra_jax.runs.studies.experiments import Catalogue, Experiment, Part, Row, Scale
from mtra_jax.runs.trials.run_specs import Overrides

SWEEPS = config_files.execute(str(Path(__file__).with_name("sweep.py")))
EW, EW_JOINT, JOINT = SWEEPS.EW, SWEEPS.EW_JOINT, SWEEPS.JOINT
EW_SUM, SUM = SWEEPS.EW_SUM, SWEEPS.SUM

# Methods of tables 2, 7, 8, 11, 12, and those that InfoMTL's table 2 adds.
REPRESENTATIVE = ("si", "uw", "mt_vib", "infomtl", "mtra")
PROBABILISTIC = ("vmtl", "hierarchical_mtl")
SHARES = {"20 %": "0.2", "60 %": "0.6", "80 %": "0.8", "100 %": "1"}
SHARES_OF_INFOMTL = {"20 %": "0.2", "40 %": "0.4", **SHARES}
NOISES = {"0 %": "0", "20 %": "0.2", "40 %": "0.4", "60 %": "0.6"}
# The values of tables 17 and 18; those of InfoMTL are around its table 8.
GRID = {
    ("mtra", "beta"): ("0.5", "1", "2"),
    ("mtra", "epsilon"): ("0.1", "1", "5"),
    ("infomtl", "alpha"): ("0.01", "0.1", "1"),
    ("infomtl", "beta"): ("0.01", "0.1", "1"),
    ("infomtl", "temperature"): ("0.1", "0.5", "1"),
}
NO_SIMAX, NO_TIMIN = ("method.simax", "false"), ("method.timin", "false")
ABLATIONS = {
    "mtra": {
        **SWEEPS.ABLATIONS,
        "mtra w/o TA & SA": (SWEEPS.NO_TA, SWEEPS.NO_SA),
    },
    "infomtl": {
        "infomtl": (),
        "infomtl w/o SIMax": (NO_SIMAX,),
        "infomtl w/o TIMin": (NO_TIMIN,),
        "infomtl w/o SIMax & TIMin": (NO_SIMAX, NO_TIMIN),
    },
}


def methods(*names: str, level: str = "", overrides: Overrides = ()) -> tuple[Row, ...]:
    """EW under both samplings and `names`, each compared with the EW of its sampling.

    `level` ends the names of the rows, which all have `overrides`. Of `names`, `EW_SUM` is
    EW as the sum of the losses.
    """
    end = f" {level}" if level else ""
    special = {EW_JOINT: (EW, JOINT), EW_SUM: (EW, SUM)}
    rows = {EW: (EW, ()), **{n: special.get(n, (n, ())) for n in (EW_JOINT, *names)}}
    if not any(name in SWEEPS.BASELINES for name in names):
        rows.pop(EW_JOINT)
    own = {EW_JOINT: EW_JOINT, **SWEEPS.BASELINES}
    return tuple(
        Row(
            f"{name}{end}",
            method,
            (*change, *overrides),
            f"{own.get(name, EW)}{end}",
            name if level else "",
        )
        for name, (method, change) in rows.items()
    )


def levels(
    key: str, word: str, values: dict[str, str], names: tuple[str, ...] = REPRESENTATIVE
) -> tuple[Row, ...]:
    """The methods `names` at each value of `key`."""
    rows: list[Row] = []
    for percent, value in values.items():
        level, change = f"{word} {percent}", ((key, value),)
        rows += methods(*names, level=level, overrides=change)
    return tuple(rows)


def chosen_ablations(*names: str) -> tuple[Row, ...]:
    """EW, and the rows `names` of `ABLATIONS`; all of them without a name."""
    return (
        Row(EW, EW),
        *(
            Row(name, method, change)
            for method, changes in ABLATIONS.items()
            for name, change in changes.items()
            if name in names or not names
        ),
    )


def ablated_infomtl() -> tuple[Row, ...]:
    """InfoMTL without one of its parts."""
    names = ("infomtl w/o SIMax", "infomtl w/o TIMin")
    return tuple(Row(name, "infomtl", ABLATIONS["infomtl"][name]) for name in names)


def values(method: str, option: str) -> tuple[Row, ...]:
    """The method with each value of an option in `GRID`, in place of the preset's."""
    key = f"method.{option}"
    return tuple(
        Row(f"{method} {option}={value}", method, ((key, value),), plain=method)
        for value in GRID[method, option]
    )


def sensitivity() -> tuple[Row, ...]:
    """MTRA and InfoMTL with one value of `GRID` in place of the preset's."""
    changed = [row for method, option in GRID for row in values(method, option)]
    return (*methods("mtra", "infomtl"), *changed)


PAIRS = {
    "affecteval": (
        Part("heterogeneous: GoEmotions, EmoBank", ("goemotions", "emobank")),
        Part("heterogeneous: EmotionEval, EI-Reg", ("emotion", "ei-reg")),
        Part("homogeneous: EmoBank, EI-Reg", ("emobank", "ei-reg")),
        Part("homogeneous: GoEmotions, EmotionEval", ("goemotions", "emotion")),
    ),
    "synthetic": (
        Part("heterogeneous: Polarity, Intensity", ("polarity", "intensity")),
        Part("homogeneous: Polarity, Irony", ("polarity", "irony")),
    ),
}
ALL = tuple(m for m in SWEEPS.METHODS if m not in (EW, "stl", "stl_cnn"))
EXPERIMENTS = {
    "main": Experiment(
        "all methods", "MTRA 1; InfoMTL 1", methods(EW_SUM, *ALL), columns="summary"
    ),
    "fine_grained": Experiment(
        "representative methods on each task",
        "MTRA 2; InfoMTL 2",
        methods(EW_SUM, "si", "uw", "mt_vib", *PROBABILISTIC, "infomtl", "mtra"),
    ),
    "paradigms": Experiment(
        "one model a task, InfoMTL, MTRA, and prompts of a language model if --model names "
        "one",
        "MTRA 3; InfoMTL 3 without pairs of tasks",
        methods("stl", "stl_cnn", "infomtl", "mtra"),
        prompts=(0, 4),
    ),
    "ablations": Experiment(
        "MTRA and InfoMTL without their parts; without all of them, the sum of the losses "
        "here, and EW in the papers",
        "MTRA 4, 13; InfoMTL 4, 9",
        chosen_ablations(),
    ),
    "data_size": Experiment(
        "20, 60, 80 and 100 % of the training examples",
        "MTRA 7, 14, 15",
        levels("data.fraction", "data", SHARES),
    ),
    "data_size_infomtl": Experiment(
        "20, 40, 60, 80 and 100 % of the training examples, for the methods of InfoMTL's "
        "table",
        "InfoMTL 6",
        levels(
            "data.fraction",
            "data",
            SHARES_OF_INFOMTL,
            ("uw", "pcgrad", "mt_vib", "hierarchical_mtl", "infomtl", "mtra"),
        ),
        columns="summary",
    ),
    "label_noise": Experiment(
        "0, 20, 40 and 60 % of the training labels drawn anew",
        "MTRA 8, and Avg. of 16",
        levels("data.label_noise", "noise", NOISES),
        columns="summary",
    ),
    "pairs": Experiment(
        "pairs of tasks of one kind, and of two kinds",
        "MTRA 11, 12",
        methods(*REPRESENTATIVE),
        parts=PAIRS,
    ),
    "sensitivity": Experiment(
        "β and ε of MTRA; α, β and τ of InfoMTL", "MTRA 17, 18", sensitivity()
    ),
    "cost": Experiment(
        "parameters, memory and time",
        "MTRA 19",
        methods("pcgrad", "infomtl", "mtra"),
        columns="cost",
    ),
    "alignment": Experiment(
        "loss of the tasks, and distance of two dropout views",
        "MTRA 5",
        chosen_ablations("mtra", "mtra w/o SA", "mtra w/o TA & SA"),
        columns="analysis",
    ),
    "informativeness": Experiment(
        "information of z about the labels, by new critics",
        "MTRA 6",
        (*chosen_ablations("mtra", "mtra w/o SA"), *values("mtra", "beta")),
        columns="analysis",
    ),
    "uniformity": Experiment(
        "uniformity of z, and clusters of the outputs against the labels",
        "InfoMTL 5",
        methods("uw", "pcgrad", "mt_vib", "hierarchical_mtl", "infomtl", "mtra"),
        columns="analysis",
    ),
    "robustness": Experiment(
        "scores under adversarial and random noise on the word embeddings",
        "Avg. of InfoMTL figures 3, 4",
        methods("uw", "mt_vib", "infomtl", "mtra"),
        columns="analysis",
    ),
    "information_plane": Experiment(
        "I(X; Z) and I(Z; Z_t) over the epochs",
        "InfoMTL figure 2",
        (*methods("mt_vib", "infomtl", "mtra"), *ablated_infomtl()),
        columns="analysis",
    ),
    "conflicts": Experiment(
        "cosines of the tasks' gradients over the epochs",
        "in no paper",
        methods("mtra"),
        columns="analysis",
    ),
}
SCALES = {
    "paper": Scale(
        "the paper's: all tasks and examples, 20 epochs",
        backbone="roberta",
        benchmark="tweeteval",
        seeds=(0, 1, 2),
    ),
    "small": Scale(
        "a fifth of two tasks, 2 epochs with a larger rate, two seeds",
        backbone="minilm",
        benchmark="tweeteval",
        seeds=(0, 1),
        overrides=(
            ("data.fraction", "0.2"),
            ("epochs", "2"),
            ("batch_size", "64"),
            ("learning_rate", "5e-4"),
            ("data.max_shapes", "2"),
        ),
        tasks={"tweeteval": "emotion,irony", "affecteval": "emotion,ei-reg"},
        # Ten steps of an attack at each of five sizes.
        most_texts={"robustness": 200},
    ),
    "smoke": Scale(
        "two tasks of the built-in benchmark, 128 examples of each split, 1 epoch",
        backbone="tiny",
        benchmark="synthetic",
        seeds=(0, 1),
        overrides=(
            ("data.limit", "128"),
            ("data.fraction", "0.1"),
            ("epochs", "1"),
            ("batch_size", "32"),
            ("data.max_shapes", "1"),
        ),
        tasks={"synthetic": "irony,intensity"},
    ),
}


def get_catalogue(_: str = "") -> Catalogue:
    """Returns the experiments and scales."""
    return Catalogue(
        EXPERIMENTS,
        SCALES,
        (*SWEEPS.BACKBONES, "tiny", "new"),
        (*SWEEPS.BENCHMARKS, "synthetic"),
    )
