"""Publishers' addresses or local directories -> a data root in their layouts.

Each file gets its final name once it is whole, and only after all files of its source
have been checked and read without an error.
"""

import hashlib
import http.client
import shutil
import stat
import tempfile
import urllib.request
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from mtra_jax import files
from mtra_jax.data.built_in import sources
from mtra_jax.data.built_in.publishers import PUBLISHERS, Publisher
from mtra_jax.data.splits.examples import SPLITS, Examples
from mtra_jax.errors import InputError
from mtra_jax.tasks import TWEETEVAL, Benchmark, Task

# Rows for training, validation and test. Source: MTRA (ACL 2026), Table 9.
PAPER_ROWS = {
    "emotion": (3257, 374, 1421),
    "hate": (9000, 1000, 2970),
    "irony": (2862, 955, 784),
    "offensive": (11916, 1324, 860),
    "sentiment": (45389, 2000, 11906),
    "stance": (2620, 294, 1249),
    "goemotions": (36308, 4548, 4591),
    "emobank": (8062, 1000, 1000),
    "ei-reg": (7102, 1464, 4068),
}

_TIMEOUT = 60.0  # seconds without an answer
# Bytes; far above what the publishers have, far below what fills a disk.
_LARGEST_FILE = 1 << 26
_LARGEST_DOWNLOAD = 1 << 30


def copy_benchmark(
    benchmark: Benchmark, from_dir: str | Path, data_dir: str | Path
) -> None:
    """Copies the files of `benchmark` from one data root to another, over existing ones.

    Raises:
      InputError: as `sources.load_benchmark` for `from_dir`, before anything is copied; or
        a file cannot be written.
    """
    sources.load_benchmark(benchmark, from_dir)
    for task in benchmark.tasks:
        for file in sources.task_files(task):
            _place(Path(from_dir) / file, Path(data_dir) / file)
        for file in _label_name_files(task):
            if (Path(from_dir) / file).is_file():
                _place(Path(from_dir) / file, Path(data_dir) / file)


def download_benchmark(
    benchmark: Benchmark,
    data_dir: str | Path,
    publishers: Mapping[str, Publisher] = PUBLISHERS,
) -> None:
    """Fetches from `publishers` the tasks that cannot be read from `data_dir`.

    Tasks that can be read stay as they are, so a second call fetches only the missing
    ones. Shows a bar for each download on stderr.

    Raises:
      InputError: a download fails or ends early, an archive lacks a file or cannot be
        opened, a file has another SHA-256 than its publisher's, or the content cannot be
        read. The message is one line with the address.
    """
    missing = [task for task in benchmark.tasks if not _is_readable(task, data_dir)]
    for name, publisher in publishers.items():
        tasks = [task for task in missing if _publisher_of(task) == name]
        if tasks:
            _download(publisher, tasks, data_dir)


def count_table(
    benchmark: Benchmark, examples: Mapping[str, Mapping[str, Examples]]
) -> str:
    """A table of row counts beside the paper's Table 9, a line per task and split.

    `examples`: from `sources.load_benchmark`. A difference is shown but is not an error:
    the publishers' SentiEval and GoEmotions differ from the paper's.
    """
    table = [("task", "in Table 9", "split", "rows", "paper", "difference")]
    for task in benchmark.tasks:
        for split, paper in zip(SPLITS, PAPER_ROWS[task.name], strict=True):
            count = len(examples[task.name][split].texts)
            difference = f"{count - paper:+d}" if count != paper else "0"
            numbers = (str(count), str(paper), difference)
            table.append((task.name, task.title, split, *numbers))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join(_aligned(cells, widths) for cells in table)


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Aligns names left and the last three columns, numbers, right."""
    names = [c.ljust(w) for c, w in zip(cells[:-3], widths[:-3], strict=True)]
    numbers = [c.rjust(w) for c, w in zip(cells[-3:], widths[-3:], strict=True)]
    return "  ".join(names + numbers)


def _publisher_of(task: Task) -> str:
    return "tweeteval" if task.name in TWEETEVAL.task_names else task.name


def _label_name_files(task: Task) -> list[str]:
    """Files with the names of labels, for people; no reader needs them."""
    folder = PUBLISHERS[_publisher_of(task)].target
    if _publisher_of(task) == "tweeteval":
        return [f"{folder}/{task.name}/mapping.txt"]
    return [f"{folder}/emotions.txt"] if task.name == "goemotions" else []


def _is_readable(task: Task, data_dir: str | Path) -> bool:
    try:
        sources.load_benchmark(Benchmark(task.name, (task,)), data_dir)
    except InputError:
        return False
    return True


def _download(
    publisher: Publisher, tasks: Sequence[Task], data_dir: str | Path
) -> None:
    wanted = [file for task in tasks for file in sources.task_files(task)]
    with tempfile.TemporaryDirectory() as staged:
        if publisher.address.endswith(".zip"):
            archive = Path(staged) / PurePosixPath(publisher.address).name
            _retrieve(publisher.address, archive)
            extras = [file for task in tasks for file in _label_name_files(task)]
            _extract(archive, publisher, wanted, extras, Path(staged))
        else:
            for file in wanted:
                name = file.removeprefix(f"{publisher.target}/")
                _retrieve(f"{publisher.address}/{name}", Path(staged) / file)
        _check_digests(publisher, Path(staged))
        try:
            copy_benchmark(Benchmark("download", tuple(tasks)), staged, data_dir)
        except InputError as error:
            raise InputError(f"from {publisher.address}: {error}") from None


def _check_digests(publisher: Publisher, root: Path) -> None:
    """Raises InputError if a file below `root` differs from the publisher's."""
    for name, expected in publisher.sha256.items():
        path = root / publisher.target / name
        if not path.is_file():
            continue
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest != expected:
            raise InputError(
                f"{publisher.address}: {name} has the SHA-256 {digest}; expected "
                f"{expected}; files got otherwise can be given with --from_dir"
            )


def _retrieve(address: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    # Some hosts refuse the library's own name.
    request = urllib.request.Request(address, headers={"User-Agent": "mtra-jax"})
    try:
        with (
            urllib.request.urlopen(request, timeout=_TIMEOUT) as response,
            target.open("wb") as stream,
        ):
            length = response.headers.get("Content-Length")
            total = int(length) if length else None
            with tqdm(total=total, unit="B", unit_scale=True, desc=target.name) as bar:
                while block := response.read(1 << 16):
                    bar.update(stream.write(block))
                    if stream.tell() > _LARGEST_DOWNLOAD:
                        raise OSError(f"more than {_LARGEST_DOWNLOAD} bytes came")
            # `read` ends without an error if the connection breaks off.
            if total is not None and stream.tell() != total:
                raise OSError(f"{stream.tell()} of {total} bytes came")
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise InputError(
            f"{address}: download failed: {' '.join(str(error).split())}; files got "
            "otherwise can be given with --from_dir"
        ) from None


def _extract(
    archive: Path,
    publisher: Publisher,
    wanted: Sequence[str],
    extras: Sequence[str],
    root: Path,
) -> None:
    """Writes the `wanted` files, and any `extras` in the archive, under `root`.

    Targets are our own names, never the archive's, so that no member can leave `root`.
    """
    try:
        with zipfile.ZipFile(archive) as zipped:
            members = _members(zipped)
            for file in (*wanted, *extras):
                inner = f"{publisher.inside}{file.removeprefix(publisher.target)}"
                if inner in members:
                    _copy_member(zipped, members[inner], root / file)
                elif file in wanted:
                    raise InputError(f"{publisher.address}: the archive has no {inner}")
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        OSError,  # an offset before the start of the file
        RuntimeError,
        UnicodeDecodeError,  # a name that is marked as UTF-8
    ) as error:
        raise InputError(f"{publisher.address}: no readable archive: {error}") from None


def _members(zipped: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The members by their names below the archive's single top folder.

    That folder is named after a commit or a release. Absolute and parent paths are
    ignored.
    """
    members = {}
    for member in zipped.infolist():
        top, _, inner = member.filename.partition("/")
        if top not in ("", ".", ".."):
            members[inner] = member
    return members


def _copy_member(
    zipped: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path
) -> None:
    """Writes a plain file of at most `_LARGEST_FILE` bytes.

    Raises:
      zipfile.BadZipFile: the member is a link, a device or larger, or not compressed by
        deflate. Readers of other formats may turn a few bytes into gigabytes.
    """
    if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG):
        raise zipfile.BadZipFile(f"{member.filename!r} is a link or a device")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise zipfile.BadZipFile(f"{member.filename!r} is not compressed by deflate")
    if member.file_size > _LARGEST_FILE:
        raise zipfile.BadZipFile(
            f"{member.filename!r} has {member.file_size} bytes; expected at most "
            f"{_LARGEST_FILE}"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    # In parts: `zipped.read` inflates everything before it checks the size.
    with zipped.open(member) as stream, target.open("wb") as copy:
        shutil.copyfileobj(stream, copy)


def _place(source: Path, target: Path) -> None:
    try:
        with files.replacing(target) as temporary:
            shutil.copyfile(source, temporary)
    except OSError as error:
        raise InputError(f"{target}: cannot be written: {error.strerror}") from None
