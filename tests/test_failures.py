"""Exceptions of the system, of JAX and of libraries -> one line each; own faults apart."""

import errno
import importlib
import json
import os
import signal
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from mtra_jax import cli, config_files, failures, streams
from mtra_jax.errors import InputError, RunError, naming, system_error
from mtra_jax.runs.directory import orbax_errors


def raised(act):
    """The exception that `act()` raises."""
    try:
        act()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def no_space():
    with open("/dev/full", "wb", buffering=0) as file:
        file.write(b"a")


def no_folder():
    """Not `OSError`: the library is written in Rust."""
    safetensors.numpy.save_file({"a": np.zeros(9)}, "/no/where/file")


def many_files():
    """As many as this process may open, and one more."""
    files = []
    try:
        while True:
            files.append(os.open(os.devnull, os.O_RDONLY))
    finally:
        for file in files:
            os.close(file)


def nest(depth=0):
    return nest(depth + 1)


SURROUNDINGS = {
    "a full disk": (no_space, "No space left on device ("),
    "a file": (lambda: os.stat("/no/where"), "/no/where: No such file or directory"),
    "a name in bytes": (lambda: os.stat(b"/no/where"), "/no/where: No such file"),
    "a lost reader": (lambda: os.kill(2**22 + 1, 0), "No such process ("),
    "a library in Rust": (no_folder, "No such file or directory ("),
    "memory of the host": (
        lambda: np.empty(1 << 58),
        "out of memory: Unable to allocate 2.00 EiB for an array with shape",
    ),
    "memory of a device": (
        lambda: jnp.zeros(1 << 50).block_until_ready(),
        "out of memory: RESOURCE_EXHAUSTED: ",
    ),
    "no memory for a system call": (
        lambda: (_ for _ in ()).throw(OSError(errno.ENOMEM, "Cannot allocate memory")),
        "out of memory: Cannot allocate memory (",
    ),
    "no such package": (
        lambda: importlib.import_module("no_such_package_of_anyone"),
        "No module named 'no_such_package_of_anyone' (",
    ),
    "a locale": (lambda: "é".encode("ascii"), "'ascii' codec can't encode"),
    "nesting": (lambda: json.loads("[" * 10**6), "maximum recursion depth"),
    "nesting of calls": (nest, "maximum recursion depth"),
}


@pytest.mark.parametrize(("act", "expected"), SURROUNDINGS.values(), ids=SURROUNDINGS)
def test_the_surroundings_are_one_line_with_code_1(act, expected):
    failure = failures.explain(raised(act))
    assert failure.line.startswith(f"error: {expected}")
    assert (failure.code, failure.is_internal) == (1, False)


def test_too_many_open_files_are_named(monkeypatch):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 9, limits[1])
    )
    try:
        error = raised(many_files)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert failures.explain(error).line == f"error: {os.devnull}: Too many open files"


@pytest.mark.parametrize(
    "message",
    [
        "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 64.00GiB.\ndetails",
        "INTERNAL: CUDA_ERROR_OUT_OF_MEMORY: out of memory",
        "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in hbm.",
    ],
)
def test_an_accelerators_words_for_too_little_memory(message):
    failure = failures.explain(jax.errors.JaxRuntimeError(message))
    assert failure.line == (
        f"error: out of memory: {message.splitlines()[0]}; less is needed with a smaller "
        "batch_size or data.max_length, or more micro_batches"
    )


def test_other_errors_of_the_runtime_are_its_own():
    failure = failures.explain(jax.errors.JaxRuntimeError("INTERNAL: lost\nmore"))
    assert failure.line == (
        "error: JAX: INTERNAL: lost; MTRA_JAX_DEBUG=1 shows the traceback"
    )
    assert failure.code == 1


ENDS = {
    "wrong input": (InputError("a.txt:1: no"), "error: a.txt:1: no", 2),
    "a failed run": (RunError("step 1: no"), "error: step 1: no", 1),
    "a lost disk": (orbax_errors.WriteError("full"), "error: full", 1),
    "control-C": (KeyboardInterrupt(), failures.INTERRUPTED, 130),
    "a reader with enough": (streams.OutputError(BrokenPipeError(32, "x")), "", 141),
    "a full output": (
        streams.OutputError(OSError(28, "full")),
        "error: standard output: full",
        1,
    ),
}


@pytest.mark.parametrize(("error", "line", "code"), ENDS.values(), ids=ENDS)
def test_how_a_script_ends(error, line, code):
    assert failures.explain(error) == (line, code, False)
    assert signal.SIGPIPE == 13


def test_a_fault_of_the_program_names_its_place_in_the_package():
    error = raised(lambda: system_error_of_nothing())
    failure = failures.explain(error)
    assert failure.is_internal
    assert failure.code == 1
    here = error.__traceback__.tb_next.tb_next.tb_lineno
    assert failure.line == (
        f"internal error: ValueError: not the user's ({__file__}:{here}); a fault of "
        "mtra_jax: please report it with the lines above"
    )
    error = raised(lambda: config_files.call(None, "f", "a.py"))
    line = failures.explain(error).line
    assert line.startswith("internal error: AttributeError: ")
    assert " (mtra_jax/config_files.py:" in line


def system_error_of_nothing():
    raise ValueError("not the user's")


def test_a_package_that_cannot_be_imported_is_a_matter_of_the_installation(
    tmp_path, monkeypatch
):
    """As JAX does when one of its environment variables has an unknown value."""
    (tmp_path / "package_of_another.py").write_text("\nraise ValueError('no value')\n")
    monkeypatch.syspath_prepend(tmp_path)
    failure = failures.explain(
        raised(lambda: importlib.import_module("package_of_another"))
    )
    place = f"{tmp_path}/package_of_another.py:2"
    assert failure == (f"error: cannot start: ValueError: no value ({place})", 1, False)


# ---- names of files


def test_a_failed_write_gets_the_name_of_its_file(tmp_path):
    path = tmp_path / "file"
    for act, reason in (
        (no_space, "No space left on device"),
        (no_folder, "No such file or directory"),
    ):
        with pytest.raises(OSError, match=reason) as caught, naming(path):
            act()
        assert caught.value.filename == str(path)
        assert failures.explain(caught.value).line == f"error: {path}: {reason}"


def test_an_error_with_a_file_name_or_without_a_number_is_unchanged(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, naming(tmp_path):
        os.stat("/no/where")
    assert caught.value.filename == "/no/where"
    with pytest.raises(ValueError, match="own"), naming(tmp_path):
        raise ValueError("own")


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (OSError(28, "full"), 28),
        (OSError("without a number"), None),
        (RuntimeError("Error: I/O error: File too large (os error 27)"), 27),
        (ValueError("UNKNOWN: writing [os_error_code='28' source=...]"), 28),
        (ValueError("(os error many)"), None),
    ],
)
def test_the_number_of_a_system_error(error, number):
    assert system_error(error) == number


# ---- the edge


def end(monkeypatch, capsys, main):
    monkeypatch.setattr(sys, "argv", ["script.py"])
    with pytest.raises(SystemExit) as stop:
        cli.run(main)
    output, errors = capsys.readouterr()
    assert output == ""
    return stop.value.code, errors


def test_a_traceback_is_for_faults_of_the_program_or_where_it_is_asked_for(
    monkeypatch, capsys
):
    def surroundings(arguments):
        no_space()

    def fault(arguments):
        raise ValueError("own")

    monkeypatch.delenv(failures.DEBUG, raising=False)
    code, errors = end(monkeypatch, capsys, surroundings)
    assert (code, errors.count("\n")) == (1, 1)
    code, errors = end(monkeypatch, capsys, fault)
    assert code == 1
    first, *_, last = errors.splitlines()
    assert first == "Traceback (most recent call last):"
    assert last.startswith("internal error: ValueError: own (")
    monkeypatch.setenv(failures.DEBUG, "1")
    code, errors = end(monkeypatch, capsys, surroundings)
    assert code == 1
    assert errors.startswith("Traceback ")
    assert errors.splitlines()[-1].startswith("error: No space left on device (")


def test_a_warning_is_one_line(monkeypatch, capsys):
    import warnings

    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.setattr(sys, "argv", ["script.py"])
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        cli.run(lambda arguments: warnings.warn("two\nlines", stacklevel=1))
    assert capsys.readouterr() == ("", "warning: two lines\n")


# ---- files of the user


def preset(tmp_path, body):
    path = tmp_path / "own.py"
    path.write_text(textwrap.dedent(body))
    return path


def test_an_error_of_the_package_is_not_reported_as_one_of_the_users_file(
    tmp_path, monkeypatch, capsys
):
    """Here of `config.preset`, called by the user's file."""
    path = preset(
        tmp_path,
        """
        from mtra_jax import config

        def get_config(name):
            return config.preset("new_synthetic", "mtra")
        """,
    )

    def main(arguments):
        config_files.call(f"{path}:x", "get_config", "configs/mtra.py")

    monkeypatch.delattr("mtra_jax.paths.DEFAULT_CACHE")
    code, errors = end(monkeypatch, capsys, main)
    assert code == 1
    last = errors.splitlines()[-1]
    assert last.startswith("internal error: AttributeError: module 'mtra_jax.paths'")
    assert f"; called from {path}:5 (mtra_jax/config.py:" in last


TEXTLESS = """
class Textless(Exception):
    def __str__(self):
        return 1 / 0
raise Textless
"""


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("def get_config(name):\n    return 1 / 0\n", "2: ZeroDivisionError: division"),
        ("import json\njson.loads('[')\n", "2: JSONDecodeError: Expecting value"),
        ("raise SystemExit('no')\n", "1: SystemExit: no"),
        ("import numpy as np\nnp.zeros(-1)\n", "2: ValueError: negative dimensions"),
        ("\ndef f(:\n", "2: SyntaxError: invalid syntax"),
        ("import faulty\n", "faulty.py:1: SyntaxError: "),
        ("x = 1\nraise SyntaxError('no')\n", "2: SyntaxError: no"),
        (TEXTLESS, "5: Textless: an error without a readable text"),
        ("class Stop(BaseException): pass\nraise Stop('no')\n", "2: Stop: no"),
    ],
)
def test_an_error_of_the_users_file_is_reported_with_its_line(
    tmp_path, monkeypatch, body, expected
):
    (tmp_path / "faulty.py").write_text("def f(:\n")
    monkeypatch.syspath_prepend(tmp_path)
    path = preset(tmp_path, body)
    with pytest.raises(InputError) as caught:
        config_files.call(f"{path}:x", "get_config", "configs/mtra.py")
    place = (
        tmp_path / expected if expected.startswith("faulty") else f"{path}:{expected}"
    )
    assert str(caught.value).startswith(str(place))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"# coding: other\n", "unknown encoding: other"),
        (b"x = 1\0\n", "source code string cannot contain null bytes"),
    ],
)
def test_a_file_that_cannot_be_decoded_has_no_line(tmp_path, content, reason):
    path = tmp_path / "own.py"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        config_files.call(f"{path}:x", "get_config", "configs/mtra.py")
    assert str(caught.value) == f"{path}: SyntaxError: {reason}"


def test_a_stop_from_the_keyboard_passes_through_a_users_file(tmp_path):
    path = preset(tmp_path, "raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        config_files.call(f"{path}:x", "get_config", "configs/mtra.py")


def test_a_users_file_may_define_dataclasses_with_annotations_as_texts(tmp_path):
    path = preset(
        tmp_path,
        """
        from __future__ import annotations
        import dataclasses

        @dataclasses.dataclass
        class Sizes:
            width: dataclasses.InitVar[int]

        def get_config(name):
            return [field.name for field in dataclasses.fields(Sizes)]
        """,
    )
    assert config_files.call(f"{path}:x", "get_config", "a.py") == (str(path), [])
