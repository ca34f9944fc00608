"""Files of GoEmotions, EmoBank and EI-Reg -> texts, class ids and values.

* `affecteval/goemotions/{train,dev,test}.tsv`: text, comma-separated label ids, comment
  id; quoted like CSV. Only rows with a single label belong to the task.
* `affecteval/emobank/emobank.csv` with the columns split, V, A, D, text.
* `affecteval/ei-reg/EI-reg/{training,development,test-gold}/`: one tab-separated file
  for each of four emotions, which together are the task. Quotes have no meaning.

Each reader takes a task, the data root and a split, and raises InputError as
`sources.load_benchmark` does.
"""

from pathlib import Path

from mtra_jax.data.built_in import benchmark_files
from mtra_jax.data.built_in.benchmark_files import EI_REG, EMOBANK, GOEMOTIONS
from mtra_jax.data.splits.examples import SPLITS, Examples, Rows, make_examples
from mtra_jax.data.table_files import cells
from mtra_jax.data.table_files.tables import check_needed, check_unique
from mtra_jax.errors import InputError, shown
from mtra_jax.tasks import Task

_EMOTIONS = ("anger", "fear", "joy", "sadness")
_PARTS = {"train": "train", "validation": "dev", "test": "test"}
_EI_REG_PARTS = {
    "train": "training/EI-reg-En-{}-train.txt",
    "validation": "development/2018-EI-reg-En-{}-dev.txt",
    "test": "test-gold/2018-EI-reg-En-{}-test-gold.txt",
}
_EI_REG_HEADER = ["ID", "Tweet", "Affect Dimension", "Intensity Score"]


def goemotions_files(_task: Task) -> list[str]:
    """The files of GoEmotions, as paths below the data root."""
    return [f"{GOEMOTIONS}/{part}.tsv" for part in _PARTS.values()]


def read_goemotions(task: Task, root: Path, split: str) -> Examples:
    """Reads one split of GoEmotions."""
    file = f"{GOEMOTIONS}/{_PARTS[split]}.tsv"
    return make_examples(_single_label_rows(task, root, file), task, root / file)


def _single_label_rows(task: Task, root: Path, file: str) -> Rows:
    rows = []
    for where, fields in benchmark_files.read_csv(root, file, delimiter="\t"):
        benchmark_files.check_length(fields, ["text", "label ids", "comment id"], where)
        ids = [
            benchmark_files.class_id(id_, task, where) for id_ in fields[1].split(",")
        ]
        if len(ids) == 1:
            rows.append((fields[0], ids[0]))
    return rows


def emobank_files(_task: Task) -> list[str]:
    """The file of EmoBank, as a path below the data root."""
    return [f"{EMOBANK}/emobank.csv"]


def read_emobank(task: Task, root: Path, split: str) -> Examples:
    """Reads one split of EmoBank."""
    (file,) = emobank_files(task)
    records = benchmark_files.read_csv(root, file, delimiter=",")
    where, header = next(records)
    needs = ("split", "text", *task.labels)
    check_needed(header, needs, where)
    check_unique([name for name in header if name in needs], where)
    parts: dict[str, Rows] = {part: [] for part in _PARTS.values()}
    for where, fields in records:
        benchmark_files.check_length(fields, header, where)
        record = dict(zip(header, fields, strict=True))
        if record["split"] not in parts:
            raise InputError(
                f"{where}: split {shown(record['split'])}; expected {', '.join(parts)}"
            )
        values = [cells.number(record[name], name, where) for name in task.labels]
        parts[record["split"]].append((record["text"], values))
    part = _PARTS[split]
    return make_examples(parts[part], task, f"{root / file}, split {part!r}")


def ei_reg_files(_task: Task) -> list[str]:
    """The files of EI-Reg, as paths below the data root."""
    return [file for split in SPLITS for file in _ei_reg_parts(split)]


def read_ei_reg(task: Task, root: Path, split: str) -> Examples:
    """Reads one split of EI-Reg."""
    rows: Rows = []
    for file in _ei_reg_parts(split):
        rows += _intensity_rows(root, file)
    return make_examples(rows, task, root / EI_REG)


def _ei_reg_parts(split: str) -> list[str]:
    return [f"{EI_REG}/{_EI_REG_PARTS[split].format(name)}" for name in _EMOTIONS]


def _intensity_rows(root: Path, file: str) -> Rows:
    header, *lines = benchmark_files.read_lines(root, file)
    if [name.strip() for name in header.split("\t")] != _EI_REG_HEADER:
        raise InputError(
            f"{root / file}:1: header {shown(header)}; expected {_EI_REG_HEADER}, "
            "separated by tabs"
        )
    if not lines:
        raise InputError(f"{root / file}: only a header; expected examples below it")
    path, rows = str(root / file), []
    for number, line in enumerate(lines, 2):
        where, fields = f"{path}:{number}", line.split("\t")
        benchmark_files.check_length(fields, _EI_REG_HEADER, where)
        rows.append((fields[1], [cells.number(fields[3], "Intensity Score", where)]))
    return rows
