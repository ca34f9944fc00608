"""The directory of a finished run -> a directory with the whole model and its card."""

import os
from pathlib import Path
from typing import Any

from mtra_jax import config as configs
from mtra_jax import config_values, files
from mtra_jax.data.tokenizing import tokens
from mtra_jax.errors import InputError
from mtra_jax.exports import card, onnx_file, reading, weights
from mtra_jax.methods import registry
from mtra_jax.models import pretrained
from mtra_jax.runs.directory import best_model, inputs_json, layout, tasks_json
from mtra_jax.version import VERSION

# Keys of the configuration with places on a machine.
PLACES = ("data.cache_dir", "data.dir", "data.tasks", "backbone.path", "warm_start")


def export(
    run: Path, to: Path, *, force: bool = False, onnx: bool = False, licence: str = ""
) -> None:
    """Writes the best model of the finished run in `run` to the new directory `to`.

    `to` gets `encoder/`, `heads.safetensors`, `tasks.json`, `mtra_jax.json`,
    `inputs.json`, `results.json` and `README.md`, the card. It appears whole or not. With
    `force` an exported model at `to` is replaced, and nothing else. `onnx` adds
    `model.onnx`. `licence`: an identifier of the hub, such as "apache-2.0"; the card
    otherwise states that none was chosen.

    Raises:
      InputError: `run` has not finished, or holds a run for each task; `to` is there; or
        the model has no form in ONNX.
    """
    config = layout.read_config(run)
    if names := configs.separate_tasks(config):
        raise InputError(
            f"{run}: {config.method.name} trains one model per task; expected the run of "
            f"one task, such as {run / names[0]}"
        )
    results = layout.read_results(run)
    if results is None:
        raise InputError(
            f"{run / layout.RESULTS}: no such file; expected a finished run: the command "
            "that began it continues it"
        )
    _check_target(to, force=force)
    if onnx:
        onnx_file.check_installed()
    saved = best_model.load_one(run)
    with files.new_directory(Path(os.path.abspath(to))) as place:
        about = write_model(place, saved, _packages(run))
        files.write_json(place / layout.RESULTS, results)
        if onnx:
            onnx_file.write(place)
        facts = card.Facts(
            to.resolve().name,
            saved.benchmark,
            results,
            about,
            saved.backbone.config.hidden_size,
            licence,
            onnx,
        )
        names_of_weights = weights.to_tensors(saved.params).keys()
        files.write_text(place / card.FILE, card.text(facts, names_of_weights))


def write_model(
    place: Path, saved: best_model.Saved, packages: dict[str, Any]
) -> dict[str, Any]:
    """Writes the files that `reading.read` needs; returns the content of `mtra_jax.json`.

    `packages`: versions by name.
    """
    _write_encoder(place, saved)
    weights.write(place, saved.params)
    tasks_json.write(place, saved.benchmark)
    inputs_json.write(place, saved.inputs)
    about = _about(saved, packages)
    files.write_json(place / reading.FILE, about)
    return about


def _check_target(to: Path, *, force: bool) -> None:
    """Raises InputError if `to` may not be made, or replaced."""
    if not to.exists() and not to.is_symlink():
        above = next(path for path in to.absolute().parents if path.exists())
        if not above.is_dir():
            raise InputError(f"{above}: not a directory; expected one for {to.name}")
        return
    if to.is_dir() and not to.is_symlink():
        if not any(to.iterdir()):
            return
        if force and reading.is_export(to):
            _check_replaceable(to)
            return
        if reading.is_export(to) and not force:
            raise InputError(f"{to}: an exported model is there; --force replaces it")
    raise InputError(f"{to}: is there; expected the name of a new directory")


def _check_replaceable(to: Path) -> None:
    """Raises InputError if `to` is not a whole export, or has other files too."""
    names = {path.name for path in to.iterdir()}
    if others := names - reading.FILES - reading.OPTIONAL:
        raise InputError(
            f"{to / min(others)}: --force would delete it; expected a directory with the "
            "files of an exported model alone"
        )
    if missing := reading.FILES - names:
        raise InputError(
            f"{to / min(missing)}: no such file; expected an exported model, which "
            "--force replaces"
        )


def _write_encoder(place: Path, saved: best_model.Saved) -> None:
    backbone, directory = saved.backbone, place / layout.ENCODER
    directory.mkdir()
    tokens.save_tokenizer(backbone.tokenizer, directory, backbone.config.max_length)
    pretrained.save_encoder(directory, backbone.config, saved.params["encoder"])


def _about(saved: best_model.Saved, packages: dict[str, Any]) -> dict[str, Any]:
    """The content of `mtra_jax.json`."""
    config = saved.config
    flat = config_values.flat(config)
    return {
        "format": reading.FORMAT,
        "method": config.method.to_dict(),
        # Its balancer plays no part in predictions, and its code is not in the export.
        reading.IS_ADDED: registry.METHODS[config.method.name].is_added,
        "evaluation": {key: flat[key] for key in reading.KEYS},
        "backbone": _backbone_name(flat["backbone.path"]),
        "hyper_parameters": {
            key: value
            for key, value in flat.items()
            if key not in PLACES and not key.startswith(("method.", "backbone."))
        },
        "versions": {"mtra_jax": VERSION, **packages},
    }


def _backbone_name(path: str) -> str:
    """A hub name unchanged, the last part of a local path, "" for a new encoder."""
    is_hub = pretrained.HUB_NAME.fullmatch(path) and not Path(path).exists()
    return path if is_hub or path in pretrained.BUILT_IN else Path(path).name


def _packages(run: Path) -> dict[str, Any]:
    """The versions of the packages that the run used; none if they were not recorded."""
    try:
        return dict(files.read_json(run / layout.ENVIRONMENT)["packages"])
    except (OSError, InputError, KeyError, TypeError, ValueError):
        return {}
