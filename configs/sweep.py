"""Sweeps: the methods, presets and seeds of one table each.

    python scripts/sweep.py --config configs/sweep.py:SWEEP --workdir runs/SWEEP \\
        --config.data.dir=data

"All methods" are those of the papers (`registry.of_papers`); `--only cagrad,"ew joint"`
trains any other in their place, with the same seeds. EW comes first, because Δp and p are
relative to it. A sweep of all methods has it under both samplings, as `ew` (batches of one
task) and `ew joint` (batches of all tasks), and as the sum of the losses in place of their
mean, `ew sum`: either alone changes its scores by several points. Each method is compared
with the EW of the same sampling (`Entry.sampling` of `methods/registry.py`).
Costs and scores (`results/` has the tables):

synthetic
    All methods, five seeds; needs no data. Two cores of an AMD EPYC, 24 GiB, with
    `--found results/synthetic_found.toml`: Avg. 74.00 for ew, 84.75 for mtra, 87.28 for the
    best, si (27 November 2026, commit 6cbdceb). Time: not measured.
minilm_tweeteval_small
    All methods, one seed, on two tasks. One core: Avg. 52.80 for ew, 54.67 for mtra, 59.10
    for the best (24 November 2026, commit 0c523cb). Time: not measured.
minilm_tweeteval_tenth
    EW, its sum, SI, InfoMTL, MTRA and MTRA less one part, three seeds, 20 epochs with
    patience 3 on a tenth of three tasks. One core of an AMD EPYC (seeds 0 to 2) or Intel
    Xeon (3 to 5) for each run, with `--found results/minilm_tweeteval_tenth_found.toml`:
    4 to 10 min; Avg. 59.18 ± 1.90 for ew, 60.41 ± 1.40 for mtra, 61.53 ± 0.85 for the
    best, mtra w/o TA (27 to 29 November 2026, commits c50769e, a6be514, 7c40aa5, af0a4a7).
own
    All methods, three seeds, on your tasks: `mtra-jax sweep --tasks my/tasks.toml
    --backbone DIR_OR_HUB --workdir runs/compare` stands for it.
balancers_synthetic (two seeds), balancers_minilm_tweeteval_small
    The other balancers, after EW under their sampling. Hardware, time and score: not
    measured.
reduction_synthetic
    EW as the mean and as the sum of the losses, and MTRA, with the preset's values, five
    seeds. Two cores of an AMD EPYC, 24 GiB: Avg. 79.17 ± 2.72 for ew,
    88.23 ± 3.29 for ew sum, 84.52 ± 3.01 for mtra (27 November 2026). Time: not measured.
ablations_synthetic, beta_epsilon_synthetic, options_synthetic (two seeds)
    MTRA without its parts, with nine pairs of β and ε, and with each of its options that
    are not in the paper. The last two on one core of an AMD EPYC, about 40 s a run: Avg.
    80.25 to 89.03 for the pairs, 76.61 for mtra at β = 1, 75.93 to 86.30 with one option
    (27 November 2026, commit ca8fe26). The first: `results/README.md`; time not measured.
BACKBONE_BENCHMARK (three seeds)
    Hardware, time and score: not measured.
"""

from collections.abc import Sequence

from mtra_jax import errors
from mtra_jax.methods import registry
from mtra_jax.runs.trials import run_specs

EW, EW_JOINT, EW_SUM = "ew", "ew joint", "ew sum"
METHODS = (EW, *(name for name in registry.of_papers() if name != EW))
BALANCERS = [name for name in registry.METHODS if name not in METHODS]
SEEDS = (0, 1, 2)
BACKBONES = ("roberta", "bert", "minilm")
BENCHMARKS = ("tweeteval", "affecteval")

NO_TA = ("method.task_alignment", "false")
NO_SA = ("method.self_alignment", "false")
NO_SI = ("method.logarithm", "false")
JOINT = (("sampling", "joint"),)
SUM = (("method.reduction", "sum"),)
BASELINES = {
    name: EW_JOINT
    for name, entry in registry.METHODS.items()
    if entry.sampling == "joint"
}
# Section 4.3 of the paper.
ABLATIONS = {
    "mtra": (),
    "mtra w/o TA": (NO_TA,),
    "mtra w/o SA": (NO_SA,),
    "mtra w/o SI": (NO_SI,),
    "mtra w/o all": (NO_TA, NO_SA, NO_SI),
}
ONE_LESS = {name: changes for name, changes in ABLATIONS.items() if len(changes) < 2}
# Around the preset's values, for the map of `report --grid beta,epsilon`.
BETA_EPSILON = {
    f"mtra beta={beta} epsilon={epsilon}": (
        ("method.beta", beta),
        ("method.epsilon", epsilon),
    )
    for beta in ("0.02", "0.1", "0.5")
    for epsilon in ("0.002", "0.01", "0.05")
}
# What the options of MTRA that the paper does not have do to a bound that dominates: the
# preset's β is 0.1, at 1 the bound of the first tasks trains the encoder for them alone.
LARGE_BETA = ("method.beta", "1")
OPTIONS = {
    "mtra": (),
    "mtra heads.start=base_rate": (("heads.start", "base_rate"),),
    "mtra selection=log_sum": (("selection", "log_sum"),),
    "mtra beta=1": (LARGE_BETA,),
    **{
        f"mtra beta=1 {key}={value}": (LARGE_BETA, (f"method.{key}", value))
        for key, value in (
            ("balance", "pull"),
            ("cap", "true"),
            ("critic_rate", "0.1"),
            ("marginal", "all_pairs"),
            ("bound", "smile"),
            ("bound", "info_nce"),
            ("bound", "jsd"),
        )
    },
}
# A share of real data that two cores finish within an hour.
SMALL = (
    ("tasks", "emotion,irony"),
    ("data.fraction", "0.2"),
    ("epochs", "2"),
    ("batch_size", "64"),
    ("learning_rate", "5e-4"),
    ("data.max_shapes", "3"),
)
# The paper's protocol on a tenth of three tasks, which two cores finish within hours.
TENTH = (
    ("tasks", "emotion,irony,stance"),
    ("data.fraction", "0.1"),
    ("batch_size", "32"),
    ("learning_rate", "3e-4"),
    ("selection", "average"),
    ("data.max_length", "64"),
    ("data.max_shapes", "2"),
)


def all_methods(
    preset: str, seeds: Sequence[int], overrides: run_specs.Overrides = ()
) -> tuple[run_specs.Trial, ...]:
    """Every method and seed, after EW as mean and sum, and under both samplings."""
    return (
        *run_specs.grid([EW], preset, seeds, overrides),
        *run_specs.variants(EW, {EW_SUM: SUM}, preset, seeds, overrides),
        *run_specs.variants(
            EW, {EW_JOINT: JOINT}, preset, seeds, overrides, baseline=EW_JOINT
        ),
        *run_specs.grid(METHODS[1:], preset, seeds, overrides, BASELINES),
    )


def other_balancers(
    preset: str, seeds: Sequence[int], overrides: run_specs.Overrides = ()
) -> tuple[run_specs.Trial, ...]:
    """The methods of no paper's table and every seed, after EW with their sampling."""
    return (
        *run_specs.variants(EW, {EW_JOINT: JOINT}, preset, seeds, overrides),
        *run_specs.grid(BALANCERS, preset, seeds, overrides),
    )


def others_on_request(
    trials: tuple[run_specs.Trial, ...],
) -> tuple[run_specs.Trial, ...]:
    """Every method without a row in `trials`, like their first row, for `--only`.

    Only if there is a row of EW with the sampling of those methods.
    """
    names, first = {trial.name for trial in trials}, trials[0]
    if EW_JOINT not in names:
        return ()
    seeds = [trial.seed for trial in trials if trial.name == first.name]
    methods = [name for name in BALANCERS if name not in names]
    settings = first.preset, seeds, first.overrides, BASELINES
    return run_specs.grid(methods, *settings)


SWEEPS = {
    "synthetic": all_methods("tiny_synthetic", range(5)),
    "ablations_synthetic": (
        *run_specs.grid([EW], "tiny_synthetic", (0, 1)),
        *run_specs.variants("mtra", ABLATIONS, "tiny_synthetic", (0, 1)),
    ),
    "reduction_synthetic": (
        *run_specs.grid([EW], "tiny_synthetic", range(5)),
        *run_specs.variants(EW, {EW_SUM: SUM}, "tiny_synthetic", range(5)),
        *run_specs.grid(["mtra"], "tiny_synthetic", range(5)),
    ),
    "options_synthetic": (
        *run_specs.grid([EW], "tiny_synthetic", (0, 1)),
        *run_specs.variants("mtra", OPTIONS, "tiny_synthetic", (0, 1)),
    ),
    "beta_epsilon_synthetic": (
        *run_specs.grid([EW], "tiny_synthetic", (0, 1)),
        *run_specs.variants("mtra", BETA_EPSILON, "tiny_synthetic", (0, 1)),
    ),
    **{
        f"{backbone}_{benchmark}": all_methods(f"{backbone}_{benchmark}", SEEDS)
        for backbone in BACKBONES
        for benchmark in BENCHMARKS
    },
    "minilm_tweeteval_tenth": (
        *run_specs.grid([EW], "minilm_tweeteval", SEEDS, TENTH),
        *run_specs.variants(EW, {EW_SUM: SUM}, "minilm_tweeteval", SEEDS, TENTH),
        *run_specs.grid(("si", "infomtl"), "minilm_tweeteval", SEEDS, TENTH),
        *run_specs.variants("mtra", ONE_LESS, "minilm_tweeteval", SEEDS, TENTH),
    ),
    "minilm_tweeteval_small": all_methods("minilm_tweeteval", (0,), SMALL),
    "own": all_methods("own", SEEDS),
    "balancers_synthetic": other_balancers("tiny_synthetic", (0, 1)),
    "balancers_minilm_tweeteval_small": other_balancers(
        "minilm_tweeteval", (0,), SMALL
    ),
}


def get_sweep(name: str) -> run_specs.Sweep:
    """Returns the runs of sweep `name`.

    Raises:
      InputError: an unknown sweep.
    """
    if name not in SWEEPS:
        hint = errors.did_you_mean(name, SWEEPS)
        raise errors.InputError(f"unknown sweep {name!r}; {hint}")
    trials = SWEEPS[name]
    baseline = trials[0].name
    return run_specs.Sweep(trials, baseline, optional=others_on_request(trials))
