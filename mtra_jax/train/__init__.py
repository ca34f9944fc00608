"""Compiled programs: training step, optimiser, devices, evaluation.

The package bears the name of the function `mtra_jax.train`, so it can be called as it;
`help(mtra_jax.api.training.train)` describes that.
"""

import importlib
import inspect
import sys
import types
from collections.abc import Callable
from typing import Any


class _Callable(types.ModuleType):
    """A module whose call is one of the function `api.training.train`."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return _function()(*arguments, **options)

    @property
    def __signature__(self) -> inspect.Signature:
        """That of the function, for `inspect` and for notebooks."""
        return inspect.signature(_function())


def _function() -> Callable[..., Any]:
    return importlib.import_module("mtra_jax.api.training").train


sys.modules[__name__].__class__ = _Callable
