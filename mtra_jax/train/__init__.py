"""Compiled programs: training step, optimiser, devices, evaluation.

The package bears the name of the function `mtra_jax.train`, so it can be called as it.
"""

import importlib
import sys
import types
from typing import Any


class _Callable(types.ModuleType):
    """A module whose call is one of the function `api.training.train`."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return importlib.import_module("mtra_jax.api.training").train(
            *arguments, **options
        )


sys.modules[__name__].__class__ = _Callable
