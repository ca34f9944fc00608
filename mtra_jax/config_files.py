"""A user's Python file -> the result of one of its functions, or the line at fault."""

import contextlib
import functools
import importlib.machinery
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterator
from types import CodeType, ModuleType
from typing import Any

from mtra_jax import preset_files
from mtra_jax.errors import InputError


def execute(path: str) -> ModuleType:
    """The module in the file `path`; its errors pass through.

    It can import the modules beside it, also later, in its functions, until another file
    with a module of that name is executed. Installed packages come first.

    Raises:
      InputError: there is no such file, or it is not Python.
    """
    # Unlike `Path.is_file`, this returns False for impossible names.
    if not os.path.isfile(path):
        raise InputError(f"{path}: no such configuration file")
    if not path.endswith(".py"):
        raise InputError(f"{path}: not a Python file")
    loader = _Uncached("mtra_jax_preset", os.path.abspath(path))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None  # it is None only for a loader without a module
    module = importlib.util.module_from_spec(spec)
    _prefer(os.path.dirname(loader.path))
    # Dataclasses with annotations as texts look the module of their class up here.
    sys.modules[loader.name] = module
    loader.exec_module(module)
    return module


_own_directories: list[str] = []
"""Those that `sys.path` has for the files' sake, the latest first."""


def _prefer(directory: str) -> None:
    """Lets imports find the modules in `directory`, after those of installed packages."""
    if directory == str(preset_files.DIRECTORY):  # whose files import no neighbours
        return
    others = [other for other in _own_directories if other != directory]
    if directory in _own_directories or directory not in sys.path:
        _own_directories[:] = [directory, *others]
        rest = [path for path in sys.path if path not in _own_directories]
        sys.path[:] = rest + _own_directories
    for name, module in [*sys.modules.items()]:
        top = os.path.join(directory, name.partition(".")[0])
        is_here = os.path.exists(f"{top}.py") or os.path.exists(f"{top}/__init__.py")
        if is_here and name != "__main__" and _root(name, module) in others:
            del sys.modules[name]


def _root(name: str, module: ModuleType) -> str:
    """The directory of `sys.path` that a module was imported from; "" without a file."""
    file = getattr(module, "__file__", None) or ""
    root = os.path.dirname(file.removesuffix(f"{os.sep}__init__.py"))
    for _ in name.split(".")[1:]:
        root = os.path.dirname(root)
    return root


class _Uncached(importlib.machinery.SourceFileLoader):
    """Neither reads nor leaves a compiled module beside the user's file."""

    def get_code(self, fullname: str) -> CodeType:
        """The file as it is now; a sweep executes its presets for each run."""
        path = self.get_filename(fullname)
        return _compiled(self.get_data(path), path)


@functools.lru_cache(maxsize=32)
def _compiled(source: bytes, path: str) -> CodeType:
    loader = importlib.machinery.SourceFileLoader("", path)
    return loader.source_to_code(source, path)


def call(
    spec: str,
    function: str,
    example: str,
    *,
    names_line: bool = False,
    is_shipped: bool = False,
) -> tuple[str, Any]:
    """FILE, and the result of its `function(NAME)`, for `spec` FILE:NAME.

    `preset_files.find` looks FILE up, with `is_shipped`. Errors inside this package, called
    by the file, pass through; with `names_line` InputErrors begin with the line of the
    call.

    Raises:
      InputError: no such file or function (`example` has one), or an error in the file.
    """
    path, _, name = spec.partition(":")
    path = preset_files.find(path, is_shipped=is_shipped)
    with _reported(path, names_line=names_line):
        module = execute(path)
        if not hasattr(module, function):
            raise InputError(f"{path}: no function {function}; see {example}")
        return path, getattr(module, function)(name)


def run(path: str) -> None:
    """Executes the file `path` for its effects.

    Raises:
      InputError: no such file, or an error in it, with the line.
    """
    with _reported(path, names_line=True):
        execute(path)


@contextlib.contextmanager
def _reported(path: str, *, names_line: bool = False) -> Iterator[None]:
    """Turns errors of the user's file into InputErrors, as `call` has them."""
    try:
        yield
    except InputError as error:
        # One that a function of this package raised, called by the file.
        if names_line and _is_internal(error, path):
            raise InputError(f"{_place(error, path)}: {error}") from error
        raise
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # user code raises any type
        if not _is_internal(error, path):
            raise InputError(_fault(error, path)) from error
        error.add_note(f"called from {_place(error, path)}")
        raise


def _is_internal(error: BaseException, path: str) -> bool:
    """Whether this package raised `error`, rather than the user's file or its callees."""
    own = os.path.dirname(os.path.abspath(__file__))
    file = os.path.abspath(path)
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename == file:
            return False
        if frame.filename.startswith(own + os.sep):
            return frame.filename != os.path.abspath(__file__)
    return False


def _fault(error: BaseException, path: str) -> str:
    """The error in the file `path`, with its line if the error has one."""
    place = _place(error, path)
    try:
        reason = str(error)
    except Exception:  # the text of a user's type is made by the user's code
        reason = "an error without a readable text"
    # One that the user's code raises may have neither file nor line.
    if isinstance(error, SyntaxError) and error.filename is not None:
        # The error may be in a module that the file imports.
        file = path if error.filename == os.path.abspath(path) else error.filename
        # An unknown encoding is on line 0.
        place = f"{file}:{error.lineno}" if error.lineno else file
        reason = error.msg
    return f"{place}: {type(error).__name__}: {reason}"


def _place(error: BaseException, path: str) -> str:
    """FILE:LINE of the last frame of `error` in `path` or a module beside it.

    FILE without such a frame.
    """
    directory = os.path.dirname(os.path.abspath(path))
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        place, name = os.path.split(frame.filename)
        if place == directory:
            return f"{os.path.join(os.path.dirname(path), name)}:{frame.lineno}"
    return path
