"""The table of methods. Tests, the tables of the READMEs and option checks follow it."""

import inspect
import os
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from mtra_jax import balancing, config_files
from mtra_jax.balancing.checks import OptionError
from mtra_jax.errors import InputError, did_you_mean
from mtra_jax.methods import (
    balanced,
    hierarchical_mtl,
    infomtl,
    mt_vib,
    mtra,
    samo,
    stl_cnn,
    vmtl,
    weighted,
)
from mtra_jax.methods.contract import Factory, Method
from mtra_jax.methods.model import Model, Space
from mtra_jax.models import encoder, heads

SAMPLINGS = ("per_task", "joint", "temperature")
"""The values of `config.sampling`."""


class Entry(NamedTuple):
    """The factory of a method, and how its runs are set up.

    `sampling` is the default of `config.sampling`. With `is_separate` each task is trained
    in a separate run. `in_papers`: the papers of MTRA and InfoMTL compare with it.
    `is_added`: by `mtra_jax.add_method`, not of this package.
    """

    make: Factory
    title: str
    sampling: str = "per_task"
    is_separate: bool = False
    in_papers: bool = True
    is_added: bool = False

    @property
    def doc(self) -> str:
        """The text about the method, with its source: of the function or its module."""
        own = inspect.getdoc(self.make) or ""
        module = sys.modules[self.make.__module__]
        return own if "Source:" in own else inspect.getdoc(module) or ""


def _row(
    make_balancer: Callable[..., balancing.Balancer],
    title: str,
    rates: balanced.Rates | None = None,
    *,
    in_papers: bool = False,
) -> Entry:
    """Hard parameter sharing with a balancer; options and text are the balancer's."""
    make = balanced.factory(make_balancer, rates)
    return Entry(make, title, "joint", in_papers=in_papers)


# Rates that the papers and their released codes give for the learned numbers.
FAMO = balanced.Rates(0.025, decay=1e-3)
GRADNORM = balanced.Rates(0.025)

METHODS: dict[str, Entry] = {
    "ew": Entry(weighted.ew, "EW"),
    "si": Entry(weighted.si, "SI"),
    "tw": Entry(weighted.tw, "TW"),
    "uw": Entry(weighted.uw, "UW", "joint"),
    "gls": _row(balancing.gls, "GLS", in_papers=True),
    "dwa": Entry(weighted.dwa, "DWA", "joint"),
    "pcgrad": _row(balancing.pcgrad, "PCGrad", in_papers=True),
    "imtl_l": Entry(weighted.imtl_l, "IMTL-L", "joint"),
    "rlw": _row(balancing.rlw, "RLW", in_papers=True),
    "mt_vib": Entry(mt_vib.make, "MT-VIB"),
    "vmtl": Entry(vmtl.make, "VMTL", "joint"),
    "hierarchical_mtl": Entry(hierarchical_mtl.make, "Hierarchical MTL"),
    "infomtl": Entry(infomtl.make, "InfoMTL"),
    "mtra": Entry(mtra.make, "MTRA"),
    "stl": Entry(weighted.stl, "STL", is_separate=True),
    "stl_cnn": Entry(stl_cnn.make, "STL with CNN", is_separate=True),
    "uw_so": _row(balancing.uw_so, "UW-SO"),
    "stch": _row(balancing.stch, "STCH"),
    "famo": _row(balancing.famo, "FAMO", FAMO),
    "go4align": _row(balancing.go4align, "GO4Align"),
    "mgda": _row(balancing.mgda, "MGDA"),
    "cagrad": _row(balancing.cagrad, "CAGrad"),
    "nash_mtl": _row(balancing.nash_mtl, "Nash-MTL"),
    "fairgrad": _row(balancing.fairgrad, "FairGrad"),
    "db_mtl": _row(balancing.db_mtl, "DB-MTL"),
    "gradnorm": _row(balancing.gradnorm, "GradNorm", GRADNORM),
    "gradvac": _row(balancing.gradvac, "GradVac"),
    "upgrad": _row(balancing.upgrad, "UPGrad"),
    "aligned_mtl": _row(balancing.aligned_mtl, "Aligned-MTL"),
    "config": _row(balancing.config, "ConFIG"),
    "imtl_g": _row(balancing.imtl_g, "IMTL-G"),
    "graddrop": _row(balancing.graddrop, "GradDrop"),
    "excess_mtl": _row(balancing.excess_mtl, "ExcessMTL"),
    "samo": Entry(samo.make, "SAMO", "joint", in_papers=False),
}


VARIANTS = {
    "ew sum": "ew with --config.method.reduction=sum",
    "ew joint": "ew with --config.sampling=joint",
    "ew tuned": "ew with values of --config.weight_decay and --config.head_dropout",
    "mtra w/o TA": "mtra with --config.method.task_alignment=false",
    "mtra w/o SA": "mtra with --config.method.self_alignment=false",
    "mtra w/o SI": "mtra with --config.method.logarithm=false",
    "mtra w/o all": "mtra with --config.method.task_alignment=false "
    "--config.method.self_alignment=false --config.method.logarithm=false",
}
"""Names that users take for methods, of rows or spaces -> the method and flags for them."""


def of_papers() -> list[str]:
    """The methods that the papers of MTRA and InfoMTL compare."""
    return [name for name, entry in METHODS.items() if entry.in_papers]


def make(name: str, model: Model, /, **options: Any) -> Method:
    """Makes method `name` for `model`, with its `in_pieces`.

    Raises:
      InputError: an unknown method, or an option out of its range.
      TypeError: the method has no such option.
    """
    try:
        method = _entry(name).make(model, **options)
    except OptionError as error:
        rule = f"expected {error.rule}"
        if error.choices:
            rule = did_you_mean(str(error.value), error.choices)
        raise InputError(f"method.{error.name} is {error.value!r}; {rule}") from error
    return method._replace(in_pieces=model.in_pieces)


def example(name: str, **options: Any) -> Method:
    """Makes method `name` for a small model of two tasks, to read its fields.

    Raises:
      InputError: an unknown method, or an option out of its range.
    """
    return make(name, small_model(), **options)


def small_model() -> Model:
    """A model of two tasks, with which a factory can be tried."""
    space = Space(("a", "b"), np.array([0, 0, 1]), np.array([True, False]), (4, 4))
    sizes = encoder.EncoderConfig(hidden_size=4, num_attention_heads=1)
    outputs = heads.Heads((("a", 2), ("b", 1)))
    return Model(encoder.Encoder(sizes), outputs, space, sizes.hidden_size)


def options(name: str) -> dict[str, Any]:
    """Returns the options of method `name` with their defaults.

    Options are the keyword-only arguments of the method's factory.

    Raises:
      InputError: an unknown method.
    """
    parameters = inspect.signature(_entry(name).make).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def sampling(name: str) -> str:
    """Returns the default sampling of method `name`.

    Raises:
      InputError: an unknown method.
    """
    return _entry(name).sampling


def title(name: str, chosen: Mapping[str, Any]) -> str:
    """The name of a method in tables, with its `chosen` options.

    >>> title("ew", {"reduction": "sum"}), title("cagrad", {"c": 0.5})
    ('EW sum', 'CAGrad')
    """
    is_sum = name == "ew" and chosen.get("reduction") == "sum"
    return "EW sum" if is_sum else _entry(name).title


OWN_METHODS = "MTRA_JAX_METHODS"
"""The environment variable with the path of a file that calls `mtra_jax.add_method`."""


_executed: set[str] = set()


def add_own() -> None:
    """Executes the user's file of methods, once unless it fails; without one, nothing.

    Raises:
      InputError: no such file, or an error in it, with the line.
    """
    path = os.path.expanduser(os.environ.get(OWN_METHODS, ""))
    if not path or path in _executed:
        return
    # Before it is executed: the file itself may name an unknown method.
    _executed.add(path)
    try:
        config_files.run(path)
    except InputError as error:
        _executed.remove(path)
        raise InputError(f"{OWN_METHODS}: {error}") from error


def _entry(name: str) -> Entry:
    if name not in METHODS:
        add_own()
    if name not in METHODS:
        # A search names a row "ew sum" of a sweep `ew_sum`.
        rows = {row.lower(): text for row, text in VARIANTS.items()}
        variant = rows.get(re.sub("[-_ ]+", " ", name).lower())
        hint = f"did you mean {variant}?" if variant else did_you_mean(name, METHODS)
        if hint.startswith("known"):
            hint = f"{OWN_METHODS}=FILE.py, or mtra_jax.add_method, adds it; {hint}"
        raise InputError(f"unknown method {name!r}; {hint}")
    return METHODS[name]
