"""Labels texts, or the rows of a table, with a trained model.

  mtra-jax predict --workdir runs/tiny < texts.txt
  mtra-jax predict --workdir runs/mine --input reviews.csv --text body > labelled.csv
  mtra-jax predict --workdir runs/mine --task entails --input pairs.jsonl --text a b

Lines of text, JSONL and Parquet give JSON lines; CSV and TSV give the same table with more
columns. The columns of the input stay; what would take the name of one is called
predicted_NAME. Without --task all tasks that read one text are predicted, or those that
read a pair for --text A B. With --task, lines of text give the prediction alone.
"""

import codecs
import contextlib
import functools
import itertools
import os
import queue
import stat
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mtra_jax import cli
from mtra_jax.data.table_files import delimited
from mtra_jax.errors import InputError, shown

if TYPE_CHECKING:
    from mtra_jax.reports.predicted import answered_rows

FORMATS = ("text", "csv", "tsv", "jsonl", "parquet")
TEXT = "text"
SIZES = (64, 1024)
"""Rows of the first chunk, which is answered quickly, and of the others."""
WAIT_SECONDS = 0.2
"""How long a chunk waits for its next row, if rows come through a pipe."""
READER = "reading"
"""The thread that reads them."""


class Item(NamedTuple):
    """An example to label: its one or two `texts`, and the `columns` of its row."""

    texts: tuple[str, ...]
    columns: dict[str, Any]


def main(arguments: Sequence[str]) -> None:
    """Reads examples in chunks, and writes each chunk before it reads the next."""
    flags = cli.parse(make_parser(), arguments)
    workdir = cli.existing_directory(flags.workdir)
    form = flags.format or format_of(flags.input)
    names = flags.text or [TEXT]
    if len(names) > 2:
        raise InputError(f"--text {' '.join(names)}: expected one column, or two")
    if form == TEXT and flags.text:
        raise InputError("--text: expected with --format csv, tsv, jsonl or parquet")
    if flags.separator and (
        form != "csv" or not delimited.is_separator(flags.separator)
    ):
        raise InputError(
            f"--separator {shown(flags.separator)}; expected one sign, for CSV alone"
        )

    from mtra_jax.api import loading
    from mtra_jax.reports.progress import text_counts
    from mtra_jax.runs.directory import layout
    from mtra_jax.train.devices import start_devices

    start_devices()
    predictor = loading.load_predictor(workdir, flags.task, flags.cache_dir)
    is_run = (workdir / layout.CONFIG).exists()
    if is_run and not (workdir / layout.RESULTS).exists():
        print(
            f"{workdir}: not finished; these are predictions of the best epoch so far",
            file=sys.stderr,
        )
    tasks = fitting_tasks(predictor, has_pairs=len(names) == 2)
    is_bare = form == TEXT and bool(flags.task)
    rows = rows_of(form, tasks, flags.input, is_bare=is_bare, separator=flags.separator)
    header: list[str] = []
    read = items(
        flags.input,
        form,
        names,
        separator=flags.separator,
        advice="" if flags.text else "; --text COLUMN names it",
        on_header=header.extend,
    )
    with text_counts.shown(is_quiet=flags.input is None) as count:
        for chunk in chunks(read, waits=waits(flags.input)):
            outputs = predictor(*zip(*(item.texts for item in chunk), strict=True))
            for number, item in enumerate(chunk):
                own = {name: values[number] for name, values in outputs.items()}
                rows.write(item.columns, own)
            sys.stdout.flush()
            count(len(chunk))
    rows.end(header)


def make_parser() -> cli.Parser:
    """The flags of the command."""
    parser = cli.Parser(description=__doc__)
    parser.add_argument(
        "--workdir", required=True, help="of a run, or an exported model"
    )
    parser.add_argument("--task", default="", help="one task; all if not given")
    parser.add_argument("--input", help="a file; standard input if not given")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        help="of the input; default: by its suffix, or text",
    )
    parser.add_argument(
        "--text",
        nargs="+",
        metavar="COLUMN",
        help=f"the column of the text, or the two of a pair; default: {TEXT}",
    )
    parser.add_argument(
        "--separator",
        default="",
        metavar="SIGN",
        help="between the columns of CSV, also in the output; default: a comma",
    )
    parser.add_argument(
        "--cache_dir", help="instead of ~/.cache/mtra_jax; none if empty"
    )
    return parser


def fitting_tasks(predictor: Any, *, has_pairs: bool) -> Sequence[Any]:
    """The tasks that read such examples; names the others on standard error.

    Raises:
      InputError: there is no such task.
    """
    advice = "--input FILE --text COLUMN" + ("" if has_pairs else " COLUMN")
    try:
        tasks = predictor.tasks_for(has_pairs=has_pairs)
    except InputError as error:
        raise InputError(f"{error}; give {advice}") from error
    others = [task.name for task in predictor.tasks if task not in tasks]
    if others:
        verb = "reads" if len(others) == 1 else "read"
        what = "one text" if has_pairs else "pairs"
        print(
            f"not predicted: {', '.join(others)}, which {verb} {what}; {advice}",
            file=sys.stderr,
        )
    return tasks


def format_of(path: str | None) -> str:
    """The format that the suffix of `path` names; text for others."""
    suffix = Path(path or "").suffix.lower().removeprefix(".")
    return suffix if suffix in FORMATS else TEXT


def items(
    path: str | None,
    form: str,
    names: Sequence[str],
    *,
    separator: str = "",
    advice: str = "",
    on_header: Callable[[list[str]], None] = lambda header: None,
) -> Iterator[Item]:
    """Yields the examples of a file, or of standard input for None.

    `separator`, `advice`, `on_header`: see `tables.rows`.

    Raises:
      InputError: a line is invalid, or the text of a row is not a string.
    """
    if form == TEXT:
        from mtra_jax import files

        for line in files.read_lines(path):
            yield Item((line,), {TEXT: line})
        return

    from mtra_jax.data.table_files import tables

    rows = tables.rows(
        path,
        form,
        needs=names,
        separator=separator,
        advice=advice,
        on_header=on_header,
    )
    for row in rows:
        texts = tuple(row.cells[name] for name in names)
        for name, text in zip(names, texts, strict=True):
            if not isinstance(text, str):
                raise InputError(
                    f"{row.place}: {name} is {shown(text)}; expected a text"
                )
        yield Item(texts, row.cells)


def has_mark(path: str | None) -> bool:
    """Whether a file begins with a byte-order mark, by which Excel knows UTF-8."""
    if path is None or waits(path):
        return False
    try:
        with open(path, "rb") as file:
            return file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8
    except OSError:  # the reader names it
        return False


def waits(path: str | None) -> bool:
    """Whether rows may come slowly: from a pipe, a socket or a terminal."""
    try:
        mode = os.stat(sys.stdin.fileno() if path is None else path).st_mode
    except (
        OSError,
        ValueError,
        AttributeError,
    ):  # reading it will raise, or it is memory
        return False
    return not stat.S_ISREG(mode)


def chunks(examples: Iterator[Item], *, waits: bool) -> Iterator[list[Item]]:
    """Yields lists of `SIZES` examples, each as soon as it is full.

    With `waits` a shorter one is yielded once no example has come for `WAIT_SECONDS`.
    """
    take = arriving(examples) if waits else functools.partial(upto, examples)
    for size in itertools.chain(SIZES, itertools.repeat(SIZES[-1])):
        chunk = take(size)
        if not chunk:
            return
        yield chunk


def upto(examples: Iterator[Item], size: int) -> list[Item]:
    """The next `size` examples; fewer at the end."""
    return list(itertools.islice(examples, size))


def arriving(examples: Iterator[Item]) -> Callable[[int], list[Item]]:
    """Reads `examples` in a thread; returns `take(size)`, the next ones that have come.

    `take` waits for the first example, and `WAIT_SECONDS` for each further one. It gives
    nothing at the end, and raises the errors of `examples` in their place.
    """
    waiting: queue.Queue[Item | BaseException | None] = queue.Queue(2 * SIZES[-1])

    def read() -> None:
        try:
            for example in examples:
                waiting.put(example)
            waiting.put(None)
        except BaseException as error:
            waiting.put(error)

    threading.Thread(target=read, name=READER, daemon=True).start()

    def take(size: int) -> list[Item]:
        chunk: list[Item] = []
        with contextlib.suppress(queue.Empty):
            while len(chunk) < size:
                example = waiting.get(timeout=WAIT_SECONDS if chunk else None)
                if isinstance(example, BaseException):
                    raise example
                if example is None:
                    waiting.put(None)  # for the next call
                    break
                chunk.append(example)
        return chunk

    return take


def leave(code: int) -> None:
    """Exits with `code`, at once if the thread still waits for input.

    The interpreter aborts if it has to close a stream that a thread is reading.
    """
    if any(thread.name == READER for thread in threading.enumerate()):
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def rows_of(
    form: str,
    tasks: Sequence[Any],
    path: str | None,
    *,
    is_bare: bool,
    separator: str = "",
) -> "answered_rows.Rows":
    """The function that prints the rows of the file `path`, or of standard input for None.

    `is_bare`: only the prediction of the one task, without the columns of the input.
    `separator`: of the columns of CSV; a comma if empty.
    """
    from mtra_jax.data.table_files import tables
    from mtra_jax.reports.predicted import answered_rows

    if form in ("csv", "tsv"):
        delimiter = "\t" if form == "tsv" else separator or ","
        return answered_rows.Table(tasks, delimiter, has_mark=has_mark(path))
    # Rows of a pipe are answered as they come: later columns are not known yet.
    taken: Sequence[str] = ()
    if form == "jsonl" and path is not None and not waits(path):
        taken = tables.keys(path)
    return answered_rows.JsonLines(tasks, is_bare=is_bare, taken=taken)
