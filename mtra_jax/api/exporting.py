"""A finished run -> a directory with the whole model, for this package and for others."""

from pathlib import Path

from mtra_jax import paths
from mtra_jax.errors import InputError, shown
from mtra_jax.exports import writing
from mtra_jax.train.devices import start_devices


def export(
    run: str | Path,
    to: str | Path,
    *,
    onnx: bool = False,
    force: bool = False,
    licence: str = "",
) -> Path:
    """Writes the best model of the finished run in the directory `run` to `to`.

    `to`: a new directory, which appears whole or not: encoder, heads, tasks, results, and
      a card with lines of PyTorch that compute the same predictions. `load` reads it.
    `onnx`: write `model.onnx`, too; needs the extra of that name.
    `force`: replace an exported model at `to`, and nothing else.
    `licence`: of the model, as the hub names it, such as "apache-2.0".

    Returns the path of the directory.

    Raises:
      InputError: `run` has not finished, or holds a model for each task; `to` is there; or
        the model has no form in ONNX.
    """
    for name, value in (("run", run), ("to", to)):
        if not isinstance(value, str | Path) or not str(value):
            raise InputError(
                f"{name} is {shown(value)}; expected the path of a directory"
            )
    source, target = (Path(paths.expand(str(path))) for path in (run, to))
    start_devices()
    try:
        writing.export(source, target, force=force, onnx=onnx, licence=licence)
    except InputError as error:
        raise InputError(str(error).replace("--force", "force=True")) from error
    return target
