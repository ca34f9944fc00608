"""Options -> where texts, encoder, tokens and programs lie, and the configuration."""

from pathlib import Path
from typing import Any, NamedTuple

from mtra_jax import config as configs

PRESET = "configs/mtra.py:roberta_tweeteval"


class Files(NamedTuple):
    """Directories that `generated_inputs.py` fills, and one for compiled programs."""

    data: Path
    backbone: Path
    tokens: Path
    programs: Path


def of(options: dict[str, Any]) -> Files:
    """The directories of a run of the instrument."""
    work = Path(options["work"])
    return Files(
        Path(options["data_dir"] or work / "data"),
        Path(options["backbone"] or work / "backbone"),
        work / "tokens",
        work / "programs",
    )


def batch_size(options: dict[str, Any], scale: int = 1) -> int:
    """Texts of a step: 128, or 16 with `--small`, times `scale`."""
    return scale * (16 if options["small"] else 128)


def max_length(options: dict[str, Any]) -> int:
    """The longest text in tokens: the default, shorter with `--small`."""
    return 64 if options["small"] else 256


def overrides(
    options: dict[str, Any], method: str, scale: int = 1
) -> list[tuple[str, str]]:
    """The values that differ from those of `PRESET`, as on a command line."""
    files = of(options)
    return [
        ("method.name", method),
        ("backbone.path", str(files.backbone)),
        ("data.dir", str(files.data)),
        ("data.cache_dir", str(files.tokens)),
        ("data.max_length", str(max_length(options))),
        ("batch_size", str(batch_size(options, scale))),
        ("devices", "1"),
        ("merged_kernels", str(options.get("merged", False))),
    ]


def configuration(options: dict[str, Any], method: str, scale: int = 1) -> Any:
    """The configuration of `method`, in batches of `scale` times the usual size."""
    spec = f"{options['root']}/{PRESET}"
    return configs.load(spec, overrides(options, method, scale))
