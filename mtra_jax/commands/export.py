"""Writes the whole model of a finished run into one directory, and its card.

  mtra-jax export runs/mine --to models/mine
  mtra-jax export runs/mine --to models/mine --onnx --push_to_hub me/mine

`mtra_jax.load`, `mtra-jax predict` and `mtra-jax evaluate` read the directory. README.md
in it, the card, has lines of PyTorch that compute the same probabilities and values.
"""

from collections.abc import Sequence
from pathlib import Path

from mtra_jax import cli
from mtra_jax.errors import InputError


def main(arguments: Sequence[str]) -> None:
    """Writes the directory, and prints its name, or the address on the hub."""
    parser = cli.Parser(description=__doc__)
    parser.add_argument("run", metavar="RUN", help="the directory of a finished run")
    parser.add_argument("--to", required=True, metavar="DIR", help="a new directory")
    parser.add_argument(
        "--onnx", action="store_true", help="write model.onnx too; needs mtra-jax[onnx]"
    )
    parser.add_argument(
        "--force", action="store_true", help="replace the exported model at DIR"
    )
    parser.add_argument(
        "--license",
        default="",
        metavar="ID",
        help="of the model, as the hub names it, for example apache-2.0",
    )
    parser.add_argument(
        "--push_to_hub",
        metavar="ID",
        help="upload to ORGANISATION/NAME, a new repository is private",
    )
    flags = cli.parse(parser, arguments)
    run = cli.existing_directory(flags.run)
    if not flags.to:
        raise InputError("--to is empty; expected the name of a new directory")

    from mtra_jax.exports import publishing, writing
    from mtra_jax.train.devices import start_devices

    if flags.push_to_hub is not None:
        publishing.check(flags.push_to_hub)
    start_devices()
    to = Path(flags.to)
    writing.export(run, to, force=flags.force, onnx=flags.onnx, licence=flags.license)
    print(to)
    if flags.push_to_hub is not None:
        print(publishing.push(to, flags.push_to_hub))
