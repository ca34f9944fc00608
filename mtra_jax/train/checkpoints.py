"""Training states -> an Orbax directory that keeps the latest and the best, and back.

Only this module knows Orbax, and only when it is used: training and scoring run where
the package is absent, without checkpoints.
"""

import importlib.util
import json
import math
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mtra_jax.errors import InputError


class DamagedError(InputError):
    """A checkpoint cannot be read, or does not hold what was written."""


class WriteError(RuntimeError):
    """A checkpoint could not be written; the message says why."""


def is_available() -> bool:
    """Whether Orbax is installed."""
    return importlib.util.find_spec("orbax") is not None


def _rank(metrics: dict[str, Any]) -> tuple[float, int]:
    """The lower the better: of equal scores the earliest, as early stopping counts.

    A state without a finite score comes last, the latest of them first.
    """
    score, step = metrics["score"], metrics["step"]
    return (score, step) if math.isfinite(score) else (math.inf, -step)


class Memory:
    """Keeps the best state of this process's life where Orbax is absent."""

    def __init__(self) -> None:
        self._best: tuple[tuple[float, int], int, Any, dict[str, Any]] | None = None

    def save(self, step: int, state: Any, record: dict[str, Any], score: float) -> None:
        """Keeps `state` if its score is the lowest so far."""
        rank = _rank({"score": score, "step": step})
        if self._best is None or rank < self._best[0]:
            self._best = (rank, step, state, record)

    def latest_step(self) -> int | None:
        """None: nothing outlives the process."""
        return None

    def restore_latest(
        self, target: Any, say: Callable[[str], Any]
    ) -> tuple[int, Any, dict[str, Any]] | None:
        """None, like `latest_step`."""
        del target, say
        return None

    def best_step(self) -> int | None:
        """The step of the state that is kept."""
        return self._best[1] if self._best else None

    def restore(self, step: int, target: Any) -> tuple[Any, dict[str, Any]]:
        """The state that is kept, and its record."""
        del target
        assert self._best is not None
        assert self._best[1] == step
        return self._best[2], self._best[3]

    def close(self) -> None:
        """Nothing to do."""


class Checkpoints:
    """The checkpoints of one run: a state of arrays and a record of plain values each.

    Kept are the latest and the one of the lowest `score`.
    """

    def __init__(self, directory: str | Path) -> None:
        from orbax import checkpoint as ocp
        from orbax.checkpoint import checkpoint_managers as policies

        self._ocp = ocp
        # `best_fn` with `max_to_keep` would delete the latest in favour of the best.
        keep = policies.AnyPreservationPolicy(
            [
                policies.LatestN(1),
                policies.BestN(get_metric_fn=_rank, reverse=True, n=1),
            ]
        )
        self._manager = ocp.CheckpointManager(
            Path(directory).absolute(),
            # `best_fn` has the scores written; the policy alone decides what stays.
            options=ocp.CheckpointManagerOptions(
                best_fn=lambda metrics: metrics["score"],
                best_mode="min",
                preservation_policy=keep,
            ),
        )

    def save(self, step: int, state: Any, record: dict[str, Any], score: float) -> None:
        """Saves `state` (host arrays) as of `step`, in the background.

        Raises:
          WriteError: this one or the one before cannot be written.
        """
        args = self._ocp.args
        signed = {"record": record, "checksums": _checksums(state, record)}
        try:
            if step in self._manager.all_steps():
                # Stopped in the validation after this step, which is done by now.
                self._manager.delete(step)
            self._manager.save(
                step,
                args=args.Composite(
                    state=args.StandardSave(state), record=args.JsonSave(signed)
                ),
                metrics={"score": score, "step": step},
                force=True,
            )
        except Exception as error:
            # Of any type: what a full disk raises differs with the layer that meets it.
            raise self._write_error(error) from error

    def latest_step(self) -> int | None:
        """The step of the latest checkpoint, None where there is none."""
        return self._manager.latest_step()

    def restore_latest(
        self, target: Any, say: Callable[[str], Any]
    ) -> tuple[int, Any, dict[str, Any]] | None:
        """The step, state and record of the latest checkpoint; None without any.

        What is damaged is reported to `say` and removed, and the one before is taken.

        Raises:
          InputError: a checkpoint has other parameters than `target`.
          DamagedError: none of the checkpoints is whole.
        """
        steps = sorted(self._manager.all_steps(), reverse=True)
        damaged = None
        for step in steps:
            try:
                found = self.restore(step, target)
            except DamagedError as error:
                damaged = error
                continue
            if damaged is not None:
                say(f"{damaged}; continuing from step {step}")
                for later in steps[: steps.index(step)]:
                    self._manager.delete(later)
            return step, *found
        if damaged is not None:
            raise damaged
        return None

    def best_step(self) -> int | None:
        """The step of the checkpoint with the lowest score, None where there is none."""
        self._wait()
        return min(self._manager.all_steps(), key=self._rank_of, default=None)

    def _rank_of(self, step: int) -> tuple[float, int]:
        try:
            return _rank(self._manager.metrics(step))
        except Exception as error:
            raise DamagedError(
                f"{self._manager.directory}: step {step}: its score cannot be read: "
                f"{_first_line(error)}"
            ) from error

    def _wait(self) -> None:
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            raise self._write_error(error) from error

    def _write_error(self, error: Exception) -> WriteError:
        return WriteError(
            f"{self._manager.directory}: a checkpoint cannot be written: "
            f"{_first_line(error)}; those before it are kept"
        )

    def restore(self, step: int, target: Any) -> tuple[Any, dict[str, Any]]:
        """The state of `step`, NumPy arrays in the tree of `target`, and its record.

        Raises:
          InputError: the checkpoint has other parameters than `target`.
          DamagedError: it does not hold what was written.
        """
        state, record = self._read(step)
        saved, wanted = _by_name(state), _by_name(target)
        # A parameter says more than its moments in the optimiser, which differ as well.
        names = sorted(
            saved.keys() | wanted.keys(), key=lambda n: (not n.startswith("params/"), n)
        )
        for name in names:
            there, here = _describe(saved.get(name)), _describe(wanted.get(name))
            if there != here:
                raise InputError(
                    f"{self._manager.directory}: step {step} does not fit this "
                    f"configuration: {name} {there} there and {here} here"
                )
        leaves = [np.asarray(saved[name]) for name in wanted]
        return jax.tree.unflatten(jax.tree.structure(target), leaves), record

    def restore_params(self, step: int) -> Any:
        """The parameters alone of `step`, as they were saved.

        Raises:
          DamagedError: it does not hold what was written.
        """
        state, _ = self._read(step)
        return jax.tree.map(np.asarray, state["params"])

    def _read(self, step: int) -> tuple[Any, dict[str, Any]]:
        """The state and the record, whose checksums are those that were written."""
        args = self._ocp.args
        place = f"{self._manager.directory}: step {step}"
        # Without a target, since Orbax takes arrays of other shapes than the target's.
        try:
            restored = self._manager.restore(
                step,
                args=args.Composite(
                    state=args.StandardRestore(), record=args.JsonRestore()
                ),
            )
            state, signed = restored["state"], restored["record"]
            record, written = signed["record"], signed["checksums"]
        except Exception as error:
            # Of any type: flipped bytes reach every layer of the format.
            raise DamagedError(
                f"{place} cannot be read: {_first_line(error)}"
            ) from error
        found = _checksums(state, record)
        for name in sorted(found.keys() | written.keys()):
            if found.get(name) != written.get(name):
                raise DamagedError(f"{place} is damaged: {name} is not what was saved")
        return state, record

    def close(self) -> None:
        """Waits, and lets go of the directory.

        Raises:
          WriteError: the last checkpoint cannot be written.
        """
        self._wait()
        self._manager.close()


def _checksums(state: Any, record: dict[str, Any]) -> dict[str, int]:
    """CRC-32 of every array, and of the record: the file formats check only their frame."""
    text = json.dumps(record, sort_keys=True)
    sums = {
        name: zlib.crc32(np.ascontiguousarray(leaf).reshape(-1).view(np.uint8))
        for name, leaf in _by_name(state).items()
    }
    return sums | {"record": zlib.crc32(text.encode())}


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _by_name(tree: Any) -> dict[str, Any]:
    """The leaves by their paths, in their order; as Orbax names those that it gives back."""
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in flat
    }


def _describe(leaf: Any) -> str:
    return "is absent" if leaf is None else f"has shape {list(np.shape(leaf))}"


Store = Checkpoints | Memory


def open_store(directory: str | Path) -> Store:
    """The checkpoints in `directory`, or a `Memory` where Orbax is absent."""
    return Checkpoints(directory) if is_available() else Memory()
