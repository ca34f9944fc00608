"""Search spaces of `mtra-jax search`: the axes of each method.

    mtra-jax search ew,ew_tuned,mtra --preset minilm_tweeteval --workdir runs/search

Every method has the rate and the clipping of the gradient, and its options around the
values of the papers. A grid is larger than the number of trials: each method tries as many
points of it, see `spaces.ordered`. `ew_tuned` is EW with weight decay and dropout
too, the unitary scalarisation of Kurin et al. 2022 and Xin et al. 2022, in a row of the
tables besides that of EW; `ew_sum` is EW as the sum of the losses, not their mean, which
the clipping of the gradient tells apart; `ew_joint` is EW in batches of all tasks, the
baseline of the methods that train so. Hardware, time and score: not measured.
"""

from collections.abc import Mapping
from pathlib import Path

from mtra_jax import config_files
from mtra_jax.methods import registry
from mtra_jax.runs.trials.spaces import Axis, Space

# The values of MTRA's tables 17 and 18, and those around InfoMTL's table 8.
GRID = config_files.execute(str(Path(__file__).with_name("experiments.py"))).GRID
SHARED = (
    Axis("learning_rate", (0.2, 0.5, 1, 2, 4, 10), is_relative=True),
    Axis("clip_norm", (0.5, 1, 2, 5)),
)
# The built-in benchmark: a small encoder has a narrow range of useful rates.
SHARED_OF_TINY = (
    Axis("learning_rate", (0.5, 1, 2), is_relative=True),
    Axis("clip_norm", (1, 5)),
)
TUNED_EW = (
    Axis("weight_decay", (0, 0.01, 0.1)),
    Axis("head_dropout", (0, 0.1, 0.2, 0.4)),
)
OPTIONS: dict[str, dict[str, tuple[float, ...]]] = {
    **{
        method: {
            option: tuple(map(float, values))
            for (owner, option), values in GRID.items()
            if owner == method
        }
        for method in ("mtra", "infomtl")
    },
    # Around the defaults of the methods; the papers give no range. That of `excess_mtl` goes
    # down to the default of its released code.
    "dwa": {"temperature": (1, 2, 4)},
    "mt_vib": {"beta": (0.001, 0.01, 0.1)},
    "vmtl": {
        "beta": (0.001, 0.01, 0.1),
        "gamma": (0.001, 0.01, 0.1),
        "temperature": (0.2, 0.5, 1),
    },
    "hierarchical_mtl": {
        "beta": (0.001, 0.01, 0.1),
        "shared_beta": (0.001, 0.01, 0.1),
    },
    "uw_so": {"temperature": (0.5, 1, 2, 5)},
    "stch": {"mu": (0.1, 1, 10)},
    "famo": {"rate": (0.001, 0.005, 0.025), "decay": (0.0001, 0.001, 0.01)},
    "cagrad": {"c": (0.2, 0.5, 0.8)},
    "nash_mtl": {"max_norm": (0.5, 1, 2)},
    "fairgrad": {"alpha": (1, 2, 5)},
    "gradnorm": {"alpha": (0.5, 1.5, 3), "rate": (0.005, 0.025)},
    "gradvac": {"decay": (0.001, 0.01, 0.1)},
    "excess_mtl": {"rate": (0.01, 0.1, 1)},
}
# The values of the papers are for large encoders at small rates.
RELATIVE = {"tiny": ("mtra",), "new": ("mtra",)}
MULTIPLES = (0.2, 1, 5)


def own(method: str, backbone: str) -> tuple[Axis, ...]:
    """The axes of the method's options."""
    options = OPTIONS.get(method, {})
    if method in RELATIVE.get(backbone, ()):
        return tuple(Axis(f"method.{name}", MULTIPLES, True) for name in options)
    return tuple(Axis(f"method.{name}", values) for name, values in options.items())


def get_spaces(preset: str) -> Mapping[str, Space]:
    """Returns the spaces for runs of `preset`: one a method, and three more after `ew`."""
    backbone = preset.partition("_")[0]
    shared = SHARED_OF_TINY if backbone == "tiny" else SHARED
    spaces = {}
    for method in registry.METHODS:
        spaces[method] = Space(method, (*shared, *own(method, backbone)))
        if method == "ew":
            spaces["ew_tuned"] = Space("ew", (*shared, *TUNED_EW))
            spaces["ew_sum"] = Space("ew", shared, (("method.reduction", "sum"),))
            spaces["ew_joint"] = Space("ew", shared, (("sampling", "joint"),))
    return spaces
