"""Training states -> an Orbax directory with the latest and the best, and back.

Only this module imports Orbax, and only once checkpoints are opened.
"""

import contextlib
import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mtra_jax.errors import InputError
from mtra_jax.runs.directory import checksums, orbax_errors, orbax_paths
from mtra_jax.runs.directory.checksums import DamagedError
from mtra_jax.runs.directory.orbax_errors import WriteError
from mtra_jax.runs.processes import group

ASIDE = ".replaced"
"""Suffix of a checkpoint that is about to be replaced by one of the same step."""
REMOVED = ".removed"
"""Directory that a superseded checkpoint moves to, in one rename, before it is deleted.

A process that is killed while it deletes would otherwise leave a damaged checkpoint."""
LOST = (-math.inf, 0)
"""The rank of a checkpoint with an unreadable score: it may be the best one."""


def _rank(score: float, step: int) -> tuple[float, int]:
    """Sorts the best checkpoint first: the lowest score, then the earliest step.

    Early stopping breaks ties in the same way. States without a finite score come last,
    the latest of them first.
    """
    return (score, step) if math.isfinite(score) else (math.inf, -step)


class Checkpoints:
    """The checkpoints of one run, each with a state of arrays and a record of plain values.

    The directory keeps the latest and the one with the lowest `score`. With `read_only`
    nothing is created, moved or deleted, so another process may be training there.
    """

    def __init__(self, directory: str | Path, *, read_only: bool = False) -> None:
        from orbax import checkpoint as ocp

        orbax_paths.check(directory)
        orbax_errors.hush()
        self._directory = Path(directory).absolute()
        self._read_only = read_only
        if not read_only:
            self._put_back()
            self._delete_removed()
        self._ocp = ocp
        self._manager = ocp.CheckpointManager(
            self._directory,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=_LatestAndBest(lambda step: self._ranks[step]),
                read_only=read_only,
                todelete_subdir=None if read_only else REMOVED,
            ),
        )
        self._ranks = {step: self._read_rank(step) for step in self._steps()}
        self._is_first = not self._ranks

    def _steps(self) -> Sequence[int]:
        return self._manager.all_steps()

    def save(self, step: int, state: Any, record: dict[str, Any], score: float) -> None:
        """Saves `state`, host arrays, for `step` in the background.

        The first checkpoint of a run is written and read back before this returns.

        Raises:
          WriteError: this or the previous checkpoint cannot be written, or read back.
        """
        args = self._ocp.args
        signed = checksums.sign(state, record, score)
        try:
            if not self._directory.is_dir():
                # Orbax would create it again, without the run's other files.
                raise NotADirectoryError("no such directory any more")
            if step in self._steps():
                # The run had stopped in the validation after this step.
                self._set_aside(step)
            # The previous save moves superseded checkpoints until it is complete.
            self._manager.wait_until_finished()
            self._delete_removed()
            self._ranks[step] = _rank(score, step)
            self._manager.save(
                step,
                args=args.Composite(
                    state=args.StandardSave(state), record=args.JsonSave(signed)
                ),
                force=True,
            )
        except jax.errors.JaxRuntimeError:
            raise
        except Exception as error:
            # Any type: the exception for a full disk depends on the layer that raises it.
            raise self._write_error(error) from error
        if self._is_first:
            self._is_first = False
            try:
                self.verify(step)
            except DamagedError as error:
                raise WriteError(f"{error}; it was written just now") from error

    def _set_aside(self, step: int) -> None:
        """Renames a checkpoint: it can be restored until the new one is complete."""
        self._manager.wait_until_finished()
        if group.is_writer():
            here = self._directory / str(step)
            here.rename(here.with_name(here.name + ASIDE))
        group.wait_for_all("checkpoint set aside")
        self._manager.reload()

    def _put_back(self) -> None:
        """Restores checkpoints that were set aside; deletes those that have a successor."""
        for aside in self._directory.glob(f"*{ASIDE}") if group.is_writer() else ():
            if aside.with_suffix("").exists():
                shutil.rmtree(aside)
            else:
                aside.rename(aside.with_suffix(""))
        group.wait_for_all("checkpoints put back")

    def _delete_removed(self) -> None:
        if group.is_writer():
            # Leftovers do no harm; a later call deletes them.
            shutil.rmtree(self._directory / REMOVED, ignore_errors=True)

    def latest_step(self) -> int | None:
        """The step of the latest checkpoint, or None."""
        return self._manager.latest_step()

    def restore_latest(
        self, target: Any, say: Callable[[str], Any]
    ) -> tuple[int, Any, dict[str, Any]] | None:
        """The step, state and record of the latest checkpoint; None without any.

        `say` reports each damaged checkpoint in a line. Those later than the returned one
        are removed.

        Raises:
          InputError: a checkpoint has other parameters than `target`.
          DamagedError: all checkpoints are damaged.
        """
        damaged = {}
        for step in sorted(self._steps(), reverse=True):
            try:
                restored = self.restore(step, target)
            except DamagedError as error:
                damaged[step] = error
                continue
            for later, fault in damaged.items():
                say(f"{fault}; continuing from step {step}")
                self._manager.delete(later)
            self._check_best(step, say)
            return step, *restored
        for fault in damaged.values():
            raise DamagedError(
                f"{fault}; no other checkpoint is whole: remove {self._directory} to "
                "start anew"
            )
        return None

    def _check_best(self, latest: int, say: Callable[[str], Any]) -> None:
        """Reports a damaged best checkpoint before training, which needs it at the end."""
        best = self.best_step()
        if best in (None, latest):
            return
        try:
            self._read(best)
        except DamagedError as error:
            say(f"{error}; at the end it is needed, unless a later epoch is better")

    def best_step(self) -> int | None:
        """The step of the checkpoint with the lowest score, or None."""
        self._wait()
        return min(self._steps(), key=self._ranks.__getitem__, default=None)

    def _wait(self) -> None:
        self._finish(self._manager.wait_until_finished)

    def _finish(self, write: Callable[[], Any]) -> None:
        try:
            write()
        except jax.errors.JaxRuntimeError:
            raise
        except Exception as error:
            raise self._write_error(error) from error

    def _write_error(self, error: Exception) -> WriteError:
        is_kept = any(path.name.isdigit() for path in self._directory.glob("*"))
        return WriteError(
            f"{self._directory}: a checkpoint cannot be written: "
            f"{orbax_errors.reason(error)}{'; those before it are kept' * is_kept}"
        )

    def restore(self, step: int, target: Any) -> tuple[Any, dict[str, Any]]:
        """The state of `step`, NumPy arrays in the tree of `target`, and its record.

        Raises:
          InputError: the checkpoint has other parameters than `target`.
          DamagedError: its content is not what was written.
        """
        state, record = self._read(step)
        saved, wanted = checksums.by_name(state), checksums.by_name(target)
        # Parameters first: their names are clearer than those of their moments.
        names = sorted(
            saved.keys() | wanted.keys(), key=lambda n: (not n.startswith("params/"), n)
        )
        for name in names:
            there, here = _describe(saved.get(name)), _describe(wanted.get(name))
            if there != here:
                raise InputError(
                    f"{self._directory}: step {step} does not fit this "
                    f"configuration: {name} {there} there and {here} here"
                )
        leaves = [np.asarray(saved[name]) for name in wanted]
        return jax.tree.unflatten(jax.tree.structure(target), leaves), record

    def verify(self, step: int) -> None:
        """Waits until `step` is written, and reads it back.

        Raises:
          DamagedError: its content is not what was written.
          WriteError: it cannot be written.
        """
        self._wait()
        self._read(step)

    def read_record(self, step: int) -> dict[str, Any]:
        """The record of `step`, without its state.

        Raises:
          DamagedError: it is not what was written.
        """
        return self._read_signed(step)["record"]

    def restore_params(self, step: int) -> Any:
        """The parameters of `step`, without the rest of its state.

        Raises:
          DamagedError: its content is not what was written.
        """
        state, _ = self._read(step)
        return jax.tree.map(np.asarray, state["params"])

    def _read(self, step: int) -> tuple[Any, dict[str, Any]]:
        """The state and the record, after a check of their checksums."""
        args = self._ocp.args
        # Without a target: given one, Orbax accepts arrays of other shapes.
        state = self._restore(step, state=args.StandardRestore())
        signed = self._read_signed(step)
        checksums.check_state(state, signed, self._place(step))
        return state, signed["record"]

    def _read_signed(self, step: int) -> dict[str, Any]:
        signed = self._restore(step, record=self._ocp.args.JsonRestore())
        checksums.check_record(signed, self._place(step))
        return signed

    def _read_rank(self, step: int) -> tuple[float, int]:
        try:
            return _rank(self._read_signed(step)["score"], step)
        except DamagedError:
            return LOST

    def _restore(self, step: int, **item: Any) -> Any:
        try:
            (restored,) = self._manager.restore(
                step, args=self._ocp.args.Composite(**item)
            ).values()
        except Exception as error:
            # Any type: flipped bytes can fail in every layer of the format.
            raise DamagedError(
                f"{self._place(step)} cannot be read: {orbax_errors.reason(error)}"
            ) from error
        return restored

    def _place(self, step: int) -> str:
        return f"{self._directory}: step {step}"

    def close(self) -> None:
        """Waits for the last save, and closes the directory.

        Raises:
          WriteError: the last checkpoint cannot be written.
        """
        self._wait()
        if not self._read_only:
            self._delete_removed()
        self._finish(self._manager.close)


class _LatestAndBest:
    """Orbax's preservation policy, by ranks that were read with a checksum."""

    def __init__(self, rank_of: Callable[[int], tuple[float, int]]) -> None:
        self._rank_of = rank_of

    def should_preserve(
        self, checkpoints: Sequence[Any], *, context: Any
    ) -> Sequence[bool]:
        """Whether each of the checkpoints is preserved."""
        del context
        steps = [checkpoint.step for checkpoint in checkpoints]
        preserved = {max(steps), min(steps, key=self._rank_of)}
        return [step in preserved for step in steps]


def _describe(leaf: Any) -> str:
    return "is absent" if leaf is None else f"has shape {list(np.shape(leaf))}"


def open_store(directory: Path) -> Checkpoints:
    """The checkpoints in `directory`, after a test that they can be read back there.

    The test writes and reads a small checkpoint, so that faults appear before training.

    Raises:
      InputError: Orbax could not read checkpoints from this path.
      WriteError: the small checkpoint cannot be written, or read back.
    """
    place = directory.with_name(f".{directory.name}_trial")
    if group.is_writer():
        shutil.rmtree(place, ignore_errors=True)
    group.wait_for_all("trial checkpoint")
    with contextlib.closing(Checkpoints(place)) as trial:
        trial.save(0, {"params": np.arange(2.0)}, {}, 0.0)
    group.wait_for_all("trial checkpoint read")
    if group.is_writer():
        shutil.rmtree(place, ignore_errors=True)
    return Checkpoints(directory)
