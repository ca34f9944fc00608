"""A Python file of the user's -> what a function of it gives, or the line at fault."""

import importlib.util
import os
import traceback
from typing import Any

from mtra_jax.errors import InputError


def call(spec: str, function: str, example: str) -> tuple[str, Any]:
    """FILE and what `function(NAME)` of it gives, for `spec` FILE:NAME.

    Raises:
      InputError: no such file or function (`example` has one), or it breaks down.
    """
    path, _, name = spec.partition(":")
    # Unlike that of `Path`, this one is False for names that no file can have.
    if not os.path.isfile(path):
        raise InputError(f"{path}: no such configuration file")
    module_spec = importlib.util.spec_from_file_location("mtra_jax_preset", path)
    if module_spec is None or module_spec.loader is None:
        raise InputError(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(module_spec)
    try:
        module_spec.loader.exec_module(module)
        if not hasattr(module, function):
            raise InputError(f"{path}: no function {function}; see {example}")
        return path, getattr(module, function)(name)
    except InputError:
        raise
    except Exception as error:  # of any type: the code is the user's
        raise InputError(_fault(error, path)) from error


def _fault(error: Exception, path: str) -> str:
    """What broke down in the file `path`, with the line where that is known."""
    if isinstance(error, SyntaxError):
        line, reason = error.lineno, error.msg
    else:
        frames = traceback.extract_tb(error.__traceback__)
        own = [f.lineno for f in frames if f.filename == os.path.abspath(path)]
        line, reason = own[-1] if own else None, str(error)
    place = path if line is None else f"{path}:{line}"
    return f"{place}: {type(error).__name__}: {reason}"
