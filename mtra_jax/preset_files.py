"""`configs/mtra.py` -> that file in the working directory, or the one in the package."""

import ast
import os
from pathlib import Path

from mtra_jax.errors import InputError, did_you_mean

_PACKAGE = Path(__file__).resolve().parent
# A wheel holds a copy of `configs/`; in a clone the directory lies beside the package.
DIRECTORY = next(
    (d for d in (_PACKAGE / "presets", _PACKAGE.parent / "configs") if d.is_dir()),
    _PACKAGE / "presets",
)
"""The directory of the preset files."""
REGISTRY = _PACKAGE / "methods" / "registry.py"
_PREFIX = "configs/"


def find(path: str, *, is_shipped: bool = False) -> str:
    """The file that `path` names: a file, `configs/NAME.py`, or NAME for short.

    A file in the working directory comes before one of `DIRECTORY`. `is_shipped`: the user
    did not name it, so a file of the same name there, of another project, is not meant.

    Raises:
      InputError: there is no such file.
    """
    # Unlike `Path.is_file`, this returns False for impossible names.
    if not is_shipped and os.path.isfile(path):
        return path
    file = path.removeprefix(_PREFIX)
    is_name = os.sep not in path and not path.endswith(".py")
    if is_name:
        file += ".py"
    if os.sep not in file and (is_name or file != path):
        shipped = os.path.join(DIRECTORY, file)
        if os.path.isfile(shipped):
            return shipped
        hint = did_you_mean(_PREFIX + file, names())
        raise InputError(f"{path}: no such configuration file; {hint}")
    raise InputError(f"{path}: no such configuration file")


def names() -> list[str]:
    """The names of the preset files, such as `configs/mtra.py`."""
    return [f"{_PREFIX}{path.name}" for path in sorted(DIRECTORY.glob("*.py"))]


def keys(path: Path, table: str) -> list[str]:
    """The keys of the dictionary that `path` assigns to the name `table`.

    The file is parsed, not executed: executing it imports JAX, too slow for a `--help`.
    """
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign):
            targets = [node.target]
        else:
            continue
        if [ast.unparse(target) for target in targets] == [table]:
            assert isinstance(node.value, ast.Dict)
            return [ast.literal_eval(key) for key in node.value.keys if key is not None]
    raise LookupError(f"{path}: no {table}")
