"""Only log records of Orbax's abandoned writes are dropped."""

import asyncio
import errno
import gc
import logging

import pytest

from mtra_jax.runs.directory import orbax_errors

tensorstore = pytest.importorskip("tensorstore")


@pytest.fixture
def records(monkeypatch):
    """The records of `asyncio` that are printed after `hush`."""
    logger, printed = logging.getLogger("asyncio"), []
    handler = logging.Handler()
    handler.emit = printed.append
    monkeypatch.setattr(logger, "filters", [])
    monkeypatch.setattr(logger, "handlers", [handler])
    orbax_errors.hush()
    return printed


async def wait_until(is_done):
    while not is_done():
        await asyncio.sleep(0.001)


async def abandon_future(path):
    """Starts to write an array at `path` and never reads the result."""
    spec = {
        "driver": "zarr",
        "kvstore": {"driver": "file", "path": str(path)},
        "metadata": {"shape": [4], "dtype": "<f4", "chunks": [4]},
        "create": True,
    }
    future = next(tensorstore.open(spec).__await__())
    await wait_until(future.done)
    del future
    gc.collect()


def coroutine(body, path):
    """A coroutine function whose source lies at `path`."""
    namespace = {"asyncio": asyncio}
    exec(compile(f"async def write():\n    {body}\n", path, "exec"), namespace)
    return namespace["write"]


async def abandon_task(write):
    task = asyncio.create_task(write())
    await wait_until(task.done)
    del task
    gc.collect()


def abandon_loop(write):
    """Closes the loop before its only task has ended."""
    loop = asyncio.new_event_loop()
    task = loop.create_task(write())
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    del task
    gc.collect()


INSIDE, OUTSIDE = "/lib/orbax/checkpoint/write.py", "/lib/other/write.py"
FULL = f"raise OSError({errno.ENOSPC}, 'No space left on device')"
FAULT = "raise KeyError('a fault of the program')"
WAIT = "await asyncio.Event().wait()"


def test_a_failed_write_of_tensorstore_is_not_printed(records, tmp_path):
    (tmp_path / "file").touch()
    asyncio.run(abandon_future(tmp_path / "file" / "array"))
    assert records == []


def test_asyncio_prints_it_without_the_filter(records, tmp_path):
    """Without this, the test above could pass although nothing is abandoned."""
    logging.getLogger("asyncio").filters.clear()
    (tmp_path / "file").touch()
    asyncio.run(abandon_future(tmp_path / "file" / "array"))
    (record,) = records
    assert record.getMessage().startswith("Future exception was never retrieved")


@pytest.mark.parametrize(
    ("body", "path", "is_printed"),
    [
        (FULL, INSIDE, False),
        (FULL, OUTSIDE, True),
        (FAULT, INSIDE, True),
    ],
)
def test_only_system_errors_of_orbax_are_dropped(body, path, is_printed, records):
    asyncio.run(abandon_task(coroutine(body, path)))
    assert len(records) == is_printed


@pytest.mark.parametrize(("path", "is_printed"), [(INSIDE, False), (OUTSIDE, True)])
def test_only_pending_tasks_of_orbax_are_dropped(path, is_printed, records):
    abandon_loop(coroutine(WAIT, path))
    assert len(records) == is_printed


def test_other_records_of_asyncio_are_printed(records):
    logging.getLogger("asyncio").error("anything else")
    assert len(records) == 1
