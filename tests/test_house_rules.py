"""Limits on imports, prose and size of the sources, read from their syntax trees.

A rule takes a module and yields (line, what is wrong). Every rule is tried on all modules
of the repository, and on a small text that breaks it.
"""

import ast
import functools
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import parsed
import pytest

from mtra_jax import config, config_files, config_values, errors
from mtra_jax.methods import registry
from mtra_jax.runs.trials import run_specs

ROOT = Path(__file__).resolve().parents[1]
MAX_MODULE_LINES = 350
MAX_BODY_LINES = 60
MAX_DOC_LINE = 92

# Room -> what of the package it may import, besides itself.
ROOMS = {
    "__init__": "api balancing objectives errors tasks",
    "errors": "",
    "downloads": "errors",
    "files": "errors",
    "streams": "errors",
    "failures": "streams errors",
    "paths": "errors",
    "version": "",
    "preset_files": "errors",
    "config_files": "preset_files errors",
    "config_help": "errors",
    "types": "",
    "tasks": "errors",
    "objectives": "",
    "balancing": "objectives",
    "analysis": "objectives balancing types",
    "data": "files downloads tasks types errors",
    "models": "files downloads tasks types errors",
    "metrics": "tasks types errors",
    "methods": "objectives balancing models config_files types errors",
    "reports": "files metrics tasks types errors",
    "prompting": "files data tasks errors",
    "config_values": "config_help files methods tasks errors",
    "config": "data methods paths preset_files config_files config_values tasks errors",
    "train": "data models methods metrics tasks types failures errors",
    "runs": "analysis prompting files train config config_files config_values data models methods "
    "metrics reports tasks types "
    "failures paths errors",
    "exports": "runs train data models methods config config_values files reports tasks "
    "types version errors",
    "api": "runs exports train data config config_files config_values preset_files files "
    "methods balancing metrics reports paths tasks errors",
    "cli": "config config_help failures paths streams errors",
    "commands": "cli api config config_files config_help config_values preset_files version runs train "
    "prompting "
    "reports methods metrics data files tasks exports errors",
    "__main__": "commands",
}
# The packages of large rooms, in levels: each imports itself and the levels before.
LEVELS = {
    "data": (
        ("table_files", "splits"),
        ("built_in",),
        ("own_tasks",),
        ("tokenizing",),
        ("packed",),
        ("benchmarks",),
    ),
    "reports": (
        ("statistics", "predicted"),
        ("formatting", "pictures"),
        ("progress",),
        ("comparisons",),
        ("papers",),
    ),
    "runs": (
        ("processes", "loggers"),
        ("directory",),
        ("training",),
        ("trained",),
        ("trials",),
        ("sweeps",),
        ("search",),
        ("studies",),
    ),
}
LEVEL_OF = {
    room: {name: level for level, names in enumerate(levels) for name in names}
    for room, levels in LEVELS.items()
}
# Package -> the only modules that import it.
ONLY_IN = {
    "torch": {
        "mtra_jax/prompting/local.py",
        "scripts/benchmarking/prediction_speed.py",
        "scripts/benchmarking/torch_speed.py",
        "scripts/benchmarking/torch_step.py",
        "scripts/benchmarking/torchjd_step.py",
    },
    "optuna": {"mtra_jax/runs/search/optuna_points.py"},
    "orbax": {"mtra_jax/runs/directory/checkpoints.py"},
    "ml_collections": {
        "mtra_jax/api/inputs.py",
        "mtra_jax/api/training.py",
        "mtra_jax/config.py",
        "mtra_jax/config_values.py",
        "mtra_jax/runs/directory/continuation.py",
        "mtra_jax/exports/reading.py",
        "mtra_jax/runs/sweeps/estimates.py",
        "mtra_jax/runs/trials/run_specs.py",
        "mtra_jax/runs/training/choices.py",
        "mtra_jax/runs/training/inputs.py",
        "mtra_jax/runs/training/preparation.py",
        "mtra_jax/runs/trained/scored_data.py",
        "mtra_jax/runs/directory/best_model.py",
        "mtra_jax/runs/training/step_cost.py",
        "mtra_jax/runs/training/run.py",
        "mtra_jax/runs/training/same_inputs.py",
        "mtra_jax/runs/training/warm_start.py",
        "mtra_jax/runs/directory/layout.py",
    },
}
# Folder -> the only packages besides the standard library's that it imports.
OUTSIDE = {
    "mtra_jax/objectives": {"jax"},
    "mtra_jax/balancing": {"jax"},
    "mtra_jax/analysis": {"jax", "numpy", "optax", "scipy"},
}
TOP = {
    *(".ci", ".gitignore", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md"),
    *("configs", "constraints.txt", "mtra_jax", "pyproject.toml", "results"),
    *("scripts", "tests"),
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))[
    "project"
]
DEPENDENCIES = {"": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}
# Distribution -> its module, where the names differ.
MODULES = {"orbax-checkpoint": "orbax", "mlflow-skinny": "mlflow"}
# What the package may import. `_typeshed` comes with type checkers.
DECLARED = {*sys.stdlib_module_names, "mtra_jax", "_typeshed"} | {
    MODULES.get(name, name.replace("-", "_"))
    for extra, lines in DEPENDENCIES.items()
    if extra != "test"
    for name in (re.match(r"[\w-]+", line).group() for line in lines)
}
# Functions of jax. Not `process_count`, which a run records.
DEVICES = {
    "device_count",
    "device_put_replicated",
    "device_put_sharded",
    "devices",
    "distributed",
    "local_device_count",
    "local_devices",
    "process_index",
}
MAPPERS = {"pmap", "shard_map", "smap", "xmap"}
# A text that is the dotted name of a module, or begins with it: `package.module:function`.
DOTTED = re.compile(r"\A(mtra_jax(?:\.(?!json\b)\w+)+)(?=:\w|\Z)")
IMPORT_IN_TEXT = re.compile(r"\bfrom (mtra_jax(?:\.\w+)*) import (\w+(?:, *\w+)*)")
# Matches no part of itself.
MACHINE_PATH = re.compile(
    r"(?<![\w.~\-])/(?:work|root|mnt|home/\w+|Users/\w+|tmp/\w*venv\w*)(?![\w.\-])"
)


class Module(NamedTuple):
    """A file, its path from the root of the repository."""

    path: str
    text: str

    @property
    def tree(self) -> ast.Module:
        return parsed.tree(self.text)

    @property
    def nodes(self) -> list[ast.AST]:
        return parsed.nodes(self.text)

    @property
    def room(self) -> str:
        """The part of the package; empty outside of it."""
        parts = PurePosixPath(self.path).parts
        return parts[1].removesuffix(".py") if parts[0] == "mtra_jax" else ""

    def is_in(self, *folders: str) -> bool:
        return self.path.startswith(tuple(f"{folder}/" for folder in folders))


Rule = Callable[[Module], Iterator[tuple[int, str]]]


@functools.cache
def imports(module: Module) -> list[tuple[int, str]]:
    """(line, dotted name) of all imports, also those within functions."""
    return list(_imports(module))


def _imports(module: Module) -> Iterator[tuple[int, str]]:
    for node in module.nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            origin = "." * node.level + (node.module or "")
            for alias in node.names:
                yield node.lineno, f"{origin}.{alias.name}"


# ---- rules


def rooms_import_downwards(module):
    if not module.is_in("mtra_jax"):
        return
    if module.room not in ROOMS:
        yield 1, f"no row for {module.room!r} in ROOMS"
        return
    allowed = {module.room, *ROOMS[module.room].split()}
    for line, name in imports(module):
        package, _, rest = name.partition(".")
        room = rest.partition(".")[0]
        if package == "mtra_jax" and room not in allowed:
            yield line, f"{module.room} imports {name}"


def packages_of_a_room_import_downwards(module):
    parts = PurePosixPath(module.path).parts
    if parts[0] != "mtra_jax" or parts[1] not in LEVELS or parts[2] == "__init__.py":
        return
    room, own = parts[1], parts[2].removesuffix(".py")
    levels = LEVEL_OF[room]
    if own not in levels:
        yield 1, f"{own!r} is in no level of LEVELS[{room!r}]"
        return
    for line, name in imports(module):
        if f"{name}.".startswith(f"mtra_jax.{room}."):
            other = f"{name}..".split(".")[2]
            if other != own and levels.get(other, len(levels)) >= levels[own]:
                yield line, f"{room}/{own} imports {name}"


def imports_are_absolute(module):
    for line, name in imports(module):
        if name.startswith(".") or name.endswith(".*"):
            yield line, f"imports {name}"


def nobody_imports_scripts(module):
    if module.is_in("mtra_jax", "scripts", "configs"):
        for line, name in imports(module):
            if name.partition(".")[0] in ("scripts", "configs", "tests"):
                yield line, f"imports {name}"


def packages_have_one_place(module):
    for line, name in imports(module):
        package = name.partition(".")[0]
        is_bound = module.is_in("mtra_jax") or package == "torch"
        places = ONLY_IN.get(package, {module.path})
        if is_bound and not module.is_in("tests") and module.path not in places:
            yield line, f"imports {package}"


def rooms_import_few_packages(module):
    folder = str(PurePosixPath(module.path).parent)
    if folder in OUTSIDE:
        for line, name in imports(module):
            package = name.partition(".")[0]
            allowed = {*OUTSIDE[folder], *sys.stdlib_module_names, "mtra_jax"}
            if package not in allowed:
                yield line, f"imports {package}"


def packages_are_declared(module):
    if not module.is_in("mtra_jax"):
        return
    for line, name in imports(module):
        package = name.partition(".")[0]
        if package not in DECLARED:
            yield line, f"imports {package}, which pyproject.toml does not name"


def few_modules_name_devices(module):
    # `runs/processes/group.py` joins and tells apart processes.
    places = (
        "mtra_jax/train/devices.py",
        "mtra_jax/train/mappings.py",
        "mtra_jax/runs/processes/group.py",
    )
    if not module.is_in("mtra_jax", "scripts", "configs") or module.path in places:
        return
    for node in module.nodes:
        if isinstance(node, ast.Attribute):
            of_jax = isinstance(node.value, ast.Name) and node.value.id == "jax"
            if node.attr in MAPPERS or (of_jax and node.attr in DEVICES):
                yield node.lineno, f"uses {ast.unparse(node)}"
        elif isinstance(node, ast.Name) and node.id in MAPPERS:
            yield node.lineno, f"uses {node.id}"
    for line, name in imports(module):
        package, _, last = name.partition(".")
        if package == "jax" and not MAPPERS.union(DEVICES).isdisjoint(last.split(".")):
            yield line, f"imports {name}"


def modules_are_short(module):
    if module.is_in("mtra_jax", "scripts", "configs"):
        size = len(module.text.splitlines())
        if size > MAX_MODULE_LINES:
            yield size, f"{size} lines; at most {MAX_MODULE_LINES}"


def bodies_are_short(module):
    if not module.is_in("mtra_jax", "scripts", "configs"):
        return
    for node in module.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[ast.get_docstring(node) is not None :]
            size = node.end_lineno - body[0].lineno + 1 if body else 0
            if size > MAX_BODY_LINES:
                yield node.lineno, f"body of {node.name}: {size} lines"


def docstrings_are_narrow(module):
    # Examples of doctest, with their output, and commands are lines as they are.
    if not module.is_in("mtra_jax"):
        return
    lines = module.text.splitlines()
    for node in module.nodes:
        value = node.value if isinstance(node, ast.Expr) else None
        if not isinstance(getattr(value, "value", None), str):
            continue
        is_example = False
        for number in range(node.lineno, node.end_lineno + 1):
            line = lines[number - 1]
            is_example = bool(line.strip()) and (is_example or ">>> " in line)
            is_command = line.lstrip().startswith(("mtra-jax ", "mtra_jax."))
            if len(line) > MAX_DOC_LINE and not is_example and not is_command:
                yield number, f"{len(line)} characters; at most {MAX_DOC_LINE}"


def modules_are_named_after_their_subject(module):
    for part in PurePosixPath(module.path).parts:
        if re.fullmatch(r"_?(utils?|helpers?|commons?|misc)(\.py)?", part):
            yield 1, f"{part} names no subject"


def modules_say_what_they_do(module):
    is_empty = not module.text.strip()
    if not is_empty and not ast.get_docstring(module.tree):
        yield 1, "no docstring"


def only_commands_print(module):
    if module.is_in("mtra_jax") and not module.is_in("mtra_jax/commands"):
        for node in module.nodes:
            if isinstance(node, ast.Name) and node.id == "print":
                yield node.lineno, "print"


def no_machine_is_named(module):
    for number, line in enumerate(module.text.splitlines(), 1):
        for result in MACHINE_PATH.finditer(line):
            yield number, f"the path {result.group()} of some machine"


def texts_name_modules_that_are_there(module):
    """Faults and processes name modules as text; `sys.modules` has None for a wrong one."""
    if module.path == "tests/test_house_rules.py":  # breaks rules on purpose
        return
    for node in module.nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            named = [match.group(1) for match in DOTTED.finditer(node.value)]
            for start, rest in IMPORT_IN_TEXT.findall(node.value):
                named += [f"{start}.{name.strip()}" for name in rest.split(",")]
            for name in named:
                if not is_there(name):
                    yield node.lineno, f"names {name}"


def is_there(name: str) -> bool:
    """Whether a dotted name is a package, a module, or may be what a module defines."""
    place, last = ROOT.joinpath(*name.split(".")), name.rpartition(".")[2]
    if place.is_dir() or place.with_suffix(".py").is_file():
        return True
    file = place.parent / "__init__.py" if place.parent.is_dir() else place.parent
    text = file.with_suffix(".py")
    if not text.is_file():
        return False
    return re.search(rf"\b{last}\b", text.read_text(encoding="utf-8")) is not None


RULES = (
    rooms_import_downwards,
    packages_of_a_room_import_downwards,
    texts_name_modules_that_are_there,
    imports_are_absolute,
    nobody_imports_scripts,
    packages_have_one_place,
    rooms_import_few_packages,
    packages_are_declared,
    few_modules_name_devices,
    modules_are_short,
    bodies_are_short,
    docstrings_are_narrow,
    modules_are_named_after_their_subject,
    modules_say_what_they_do,
    only_commands_print,
    no_machine_is_named,
)


# ---- the repository


@functools.cache
def texts() -> list[Module]:
    """The text files under version control, and the new ones that git does not ignore."""
    asked = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        answer = subprocess.run(asked, cwd=ROOT, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    result = []
    for path in sorted(set(answer.stdout.decode().split("\0")) - {""}):
        try:
            result.append(Module(path, (ROOT / path).read_text(encoding="utf-8")))
        except (
            UnicodeDecodeError,
            FileNotFoundError,
        ):  # binary; deleted, not committed
            continue
    return result


@pytest.fixture(scope="module")
def files():
    return texts()


@pytest.fixture(scope="module")
def modules(files):
    result = [module for module in files if module.path.endswith(".py")]
    assert {"mtra_jax", "scripts", "configs", "tests"} <= {
        PurePosixPath(module.path).parts[0] for module in result
    }
    return result


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_all_modules_keep_the_rule(rule, modules, files):
    checked = files if rule is no_machine_is_named else modules
    broken = [
        f"{module.path}:{line}: {message}"
        for module in checked
        for line, message in rule(module)
    ]
    assert not broken, "\n" + "\n".join(broken)


def test_pmap_stands_in_one_file(modules):
    result = {
        module.path
        for module in modules
        if module.is_in("mtra_jax")
        for node in module.nodes
        if isinstance(node, ast.Attribute) and node.attr == "pmap"
    }
    assert result == {"mtra_jax/train/mappings.py"}


def test_every_room_of_the_table_is_there():
    for name in ROOMS:
        paths = ROOT / "mtra_jax" / f"{name}.py", ROOT / "mtra_jax" / name
        assert any(path.exists() for path in paths), name
    for room, levels in LEVEL_OF.items():
        place = ROOT / "mtra_jax" / room
        names = {path.parent.name for path in place.glob("*/*.py")}
        names |= {path.stem for path in place.glob("*.py")} - {"__init__"}
        assert names == {*levels}
    for path in set().union(*ONLY_IN.values()):
        assert (ROOT / path).is_file(), path


def first_line(path: Path) -> str:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return ast.get_docstring(tree).splitlines()[0]


def rows_of_page(names, place: Path, link: str) -> list[str]:
    """A row for each room in `place`: its link, and the first line of its docstring."""
    rows = []
    for name in names:
        if (place / name).is_dir():
            line = first_line(place / name / "__init__.py")
            rows.append(f"| [`{name}/`]({link}{name}) | {line} |")
        else:
            line = first_line(place / f"{name}.py")
            rows.append(f"| [`{name}.py`]({link}{name}.py) | {line} |")
    return rows


def test_the_page_of_the_package_lists_its_rooms_in_their_order():
    names = [name for name in ROOMS if name != "__init__"]
    for number, name in enumerate(names):
        assert {*ROOMS[name].split()} <= {*names[:number]}, name
    place = ROOT / "mtra_jax"
    page = (place / "README.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| [")]
    assert rows == [
        *rows_of_page(names, place, ""),
        *(
            row
            for room, levels in LEVEL_OF.items()
            for row in rows_of_page(levels, place / room, f"{room}/")
        ),
    ]


@pytest.mark.parametrize("name", sorted(registry.METHODS))
def test_method_names_its_source(name):
    assert "Source:" in registry.METHODS[name].doc


MTRA = config_files.execute(str(ROOT / "configs/mtra.py"))
PRESETS = {
    "configs/mtra.py": [*MTRA.TABLE_10],
    "configs/baselines.py": [
        f"{method}_{preset}"
        for method, entry in registry.METHODS.items()
        for preset in (MTRA.TABLE_10 if entry.in_papers else ["tiny_synthetic"])
    ],
}


# File -> the names of its sweeps, and the preset of their runs.
SWEEPS = {
    "configs/sweep.py": {
        "synthetic": "tiny_synthetic",
        "ablations_synthetic": "tiny_synthetic",
        "reduction_synthetic": "tiny_synthetic",
        "options_synthetic": "tiny_synthetic",
        "beta_epsilon_synthetic": "tiny_synthetic",
        **{
            f"{backbone}_{benchmark}": f"{backbone}_{benchmark}"
            for backbone in ("roberta", "bert", "minilm")
            for benchmark in ("tweeteval", "affecteval")
        },
        "minilm_tweeteval_tenth": "minilm_tweeteval",
        "minilm_tweeteval_small": "minilm_tweeteval",
        "own": "own",
        "balancers_synthetic": "tiny_synthetic",
        "balancers_minilm_tweeteval_small": "minilm_tweeteval",
    },
}


def test_presets_of_every_file_are_known():
    result = {f"configs/{path.name}" for path in (ROOT / "configs").glob("*.py")}
    # The presets of `own.py` are files; `tests/runs/studies/test_experiments.py` loads
    # `experiments.py`, and `tests/runs/search/test_search.py` loads `search.py`.
    others = {
        *("configs/__init__.py", "configs/own.py"),
        *("configs/experiments.py", "configs/search.py"),
    }
    assert result - others == {*PRESETS, *SWEEPS}


@pytest.mark.parametrize("file", sorted(PRESETS))
def test_every_preset_loads_and_is_valid(file):
    for name in PRESETS[file]:
        loaded = config.load(f"{ROOT / file}:{name}")
        config_values.validate(loaded)
        backbone, benchmark = name.split("_")[-2:]
        assert loaded.benchmark == benchmark
        assert loaded.backbone.path == MTRA.BACKBONES[backbone]


@pytest.mark.parametrize("file", sorted(SWEEPS))
def test_every_run_of_every_sweep_has_a_valid_configuration(file, tmp_path):
    own = tmp_path / "tasks.toml"
    own.write_text('[mine]\nfiles = "mine.csv"\n')
    with pytest.raises(errors.InputError) as error:
        run_specs.load(f"{ROOT / file}:none of them")
    assert str(error.value).endswith(f"known: {', '.join(SWEEPS[file])}")
    for name, preset in SWEEPS[file].items():
        loaded = run_specs.load(f"{ROOT / file}:{name}")
        assert {trial.preset for trial in loaded.trials} == {preset}
        overrides = [("data.tasks", str(own))] if preset == "own" else []
        for run in (*loaded.trials, *loaded.optional):
            config_values.validate(run_specs.config_of(run, overrides))


def git(*arguments: str) -> list[str]:
    """The lines that git prints; exit code 1 stands for none."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
        )
    except OSError:
        pytest.skip("git is not installed")
    if done.returncode > 1:
        pytest.skip("not a git checkout")
    return done.stdout.splitlines()


def test_git_ignores_no_source():
    """A pattern such as `runs/` would also hide `mtra_jax/runs/`."""
    ignored = git("ls-files", "--others", "--ignored", "--exclude-standard")
    folders = ("mtra_jax/", "scripts/", "configs/", "tests/")
    assert not [x for x in ignored if x.startswith(folders) and x.endswith(".py")]
    assert not git("ls-files", "--cached", "--ignored", "--exclude-standard")


def test_git_ignores_what_the_commands_of_the_readme_write():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    written = re.findall(r"(?:--workdir|--data_dir|-m venv) ([a-z.][\w./]*)", text)
    assert {".venv", "data"} < set(written)
    paths = [f"{path}/file" for path in written]
    assert git("check-ignore", *paths) == paths


def test_the_tests_that_the_pages_name_are_there():
    text = "".join(
        (ROOT / page).read_text(encoding="utf-8") for page in git("ls-files", "*.md")
    )
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text)
    assert len(named) >= 8
    for file, test in named:
        assert f"def {test}" in (ROOT / file).read_text(), (file, test)


# ---- broken on purpose

LONG_BODY = "\n".join(["    x = 1"] * 61)
OWNED = "/".join(["", "work", "main"])

BREACHES = [
    (
        rooms_import_downwards,
        "objectives/a.py",
        "from mtra_jax.errors import InputError",
    ),
    (rooms_import_downwards, "data/packed/a.py", "from mtra_jax import models"),
    (
        rooms_import_downwards,
        "data/packed/a.py",
        "def f():\n    import mtra_jax.metrics",
    ),
    (rooms_import_downwards, "methods/a.py", "from mtra_jax.data import batches"),
    (rooms_import_downwards, "metrics.py", "from mtra_jax import tasks, objectives"),
    (rooms_import_downwards, "train/a.py", "from mtra_jax import cli"),
    (rooms_import_downwards, "train/a.py", "from mtra_jax.runs.training import loop"),
    (rooms_import_downwards, "train/a.py", "from mtra_jax import config"),
    (rooms_import_downwards, "drawer.py", "x = 1"),
    *(
        (packages_of_a_room_import_downwards, path, text)
        for path, text in (
            ("runs/directory/a.py", "from mtra_jax.runs.training import loop"),
            ("runs/trained/a.py", "def f():\n    import mtra_jax.runs.trials.spaces"),
            ("runs/processes/a.py", "from mtra_jax.runs.loggers import registry"),
            ("runs/loggers/a.py", "from mtra_jax.runs import processes"),
            ("runs/sweeps/a.py", "from mtra_jax import runs"),
            ("runs/studies/a.py", "from mtra_jax.runs import drawer"),
            ("runs/drawer/a.py", "x = 1"),
            ("runs/drawer.py", "x = 1"),
            ("data/splits/a.py", "from mtra_jax.data.packed import batches"),
            ("data/packed/a.py", "from mtra_jax.data import benchmarks"),
            ("reports/statistics/a.py", "import mtra_jax.reports.predicted.answers"),
            ("reports/drawer.py", "x = 1"),
        )
    ),
    (texts_name_modules_that_are_there, "a.py", "x = 'mtra_jax.runs.drawer'"),
    (texts_name_modules_that_are_there, "a.py", "x = 'mtra_jax.runs.drawer:f'"),
    (texts_name_modules_that_are_there, "a.py", "x = 'mtra_jax.errors.unknown'"),
    (
        texts_name_modules_that_are_there,
        "a.py",
        "x = 'y; from mtra_jax.runs import drawer'",
    ),
    (imports_are_absolute, "data/packed/a.py", "from . import packing"),
    (imports_are_absolute, "data/packed/a.py", "from numpy import *"),
    (nobody_imports_scripts, "train/a.py", "from scripts.train import main"),
    (packages_have_one_place, "train/loop.py", "def f():\n    import orbax.checkpoint"),
    (packages_have_one_place, "train/loop.py", "import torch"),
    (packages_have_one_place, "train/loop.py", "from ml_collections import ConfigDict"),
    (rooms_import_few_packages, "objectives/a.py", "import optax"),
    (rooms_import_few_packages, "analysis/a.py", "from sklearn import metrics"),
    (rooms_import_downwards, "analysis/a.py", "from mtra_jax import methods"),
    (
        packages_are_declared,
        "data/packed/a.py",
        "def f():\n    from sklearn import metrics",
    ),
    (few_modules_name_devices, "train/step.py", "import jax\ny = jax.pmap(f)"),
    (few_modules_name_devices, "train/step.py", "from jax import pmap"),
    (few_modules_name_devices, "train/step.py", "import jax\ny = jax.devices()[0]"),
    (few_modules_name_devices, "train/step.py", "from jax.sharding import shard_map"),
    (modules_are_short, "data/packed/a.py", "x = 1\n" * 351),
    (bodies_are_short, "data/packed/a.py", f"def f():\n    '''Doc.'''\n{LONG_BODY}"),
    (docstrings_are_narrow, "data/packed/a.py", f'def f():\n    """{"x" * 86}"""'),
    (docstrings_are_narrow, "data/packed/a.py", f'x = 1\n"""A.\n\n{"x" * 93}\n"""'),
    (modules_are_named_after_their_subject, "data/packed/utils.py", ""),
    (modules_are_named_after_their_subject, "helpers/a.py", ""),
    (modules_say_what_they_do, "data/packed/a.py", "x = 1"),
    (only_commands_print, "data/packed/a.py", "print('done')"),
    (no_machine_is_named, "data/packed/a.py", f"# see {OWNED}/a.py"),
    (no_machine_is_named, "data/packed/a.py", f"ROOT = '{OWNED}'"),
]


@pytest.mark.parametrize(("rule", "path", "text"), BREACHES)
def test_breach_is_seen(rule, path, text):
    assert list(rule(Module(f"mtra_jax/{path}", text)))


KEPT = [
    ("objectives/a.py", "import math\nimport jax\nfrom mtra_jax.objectives import b"),
    (
        "data/packed/a.py",
        "from mtra_jax.data.packed import b\nfrom mtra_jax.errors import InputError",
    ),
    ("train/devices.py", "import jax\ny = jax.pmap(f, devices=jax.devices())"),
    ("train/step.py", "import jax\ny = jax.lax.axis_index('data') + model.devices"),
    ("runs/directory/checkpoints.py", "from orbax import checkpoint"),
    (
        "runs/directory/a.py",
        "from mtra_jax.runs.directory import b\nfrom mtra_jax.runs.loggers import c",
    ),
    ("runs/studies/a.py", "from mtra_jax.runs.search import plan as b"),
    ("data/packed/a.py", "x = 'mtra_jax.runs.training.run:train'"),
    ("data/packed/a.py", "x = 'from mtra_jax.runs.training import loop, run; y'"),
    ("data/packed/a.py", "x = 'mtra_jax.errors.InputError'"),
    ("data/packed/a.py", "x = 1\n" * 349),
    ("data/packed/a.py", "def f():\n    '''" + "\n" * 99 + "'''\n" + LONG_BODY[10:]),
    (
        "data/packed/a.py",
        f'def f():\n    """A.\n\n    >>> f()\n    {"x" * 99}\n    """',
    ),
    ("data/packed/a.py", f'def f():\n    """{"x" * 82}"""\n    return {"x" * 99}'),
    (
        "reports/papers/a.py",
        "# https://host.org/work/a, ../work/b, ~/work/c and /tmp/d",
    ),
]


@pytest.mark.parametrize(("path", "text"), KEPT)
def test_what_keeps_the_rules_is_let_through(path, text):
    module = Module(f"mtra_jax/{path}", f'"""Subject."""\n{text}')
    result = {rule.__name__: list(rule(module)) for rule in RULES}
    assert not any(result.values()), result


def test_nothing_else_is_at_the_top():
    """Such as the files of a run."""
    assert {line.split("/")[0] for line in git("ls-files")} == TOP
