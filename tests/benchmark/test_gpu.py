"""The GPU instrument: figures survive if a child fails or hangs, or it is killed itself."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import compile_events
import generated_inputs
import jax
import jax.numpy as jnp
import kernel_events
import numpy as np
import program_size
import pytest
import start_probe
import start_stages
import supervisor
from kernel_events import Kernel
from supervisor import Measurement
from tiers import nightly_only

from mtra_jax.data.built_in import sources
from mtra_jax.models import pretrained
from mtra_jax.tasks import TWEETEVAL
from mtra_jax.train.devices import Program

ROOT = Path(__file__).resolve().parents[2]
INSTRUMENT = ROOT / "scripts" / "benchmarking"
# Modules that a child can be asked to run.
FAKES = {
    "quick": """
def measure(options, emit):
    print("a library prints this")
    emit("rate", "7 a second", rate=7.0, context={"product_rate": 7.0})
""",
    "reader": """
def measure(options, emit):
    emit("rate", str(options["product_rate"]), value=options["product_rate"])
""",
    "broken": """
def measure(options, emit):
    emit("first", "stored")
    raise ValueError("no such kernel")
""",
    "endless": """
import os, subprocess, sys, time
import supervisor
def measure(options, emit):
    code = "import time; time.sleep(600)"
    child = subprocess.Popen(
        [sys.executable, "-c", code], preexec_fn=supervisor.die_with_parent
    )
    emit("first", "stored", pids=[os.getpid(), child.pid])
    emit("second", "stored too")
    time.sleep(600)
""",
}
PARENT = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import supervisor
names = sys.argv[3].split(",")
kinds = [supervisor.Measurement(name, name, 1.0) for name in names]
supervisor.run(kinds, {"small": False}, Path(sys.argv[2]), 600.0)
"""


@pytest.fixture
def fakes(tmp_path, monkeypatch):
    """A directory of modules that children find."""
    folder = tmp_path / "fakes"
    folder.mkdir()
    for name, text in FAKES.items():
        (folder / f"{name}.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return folder


def read(directory):
    """The figures of a run; every line must be whole."""
    text = (directory / supervisor.FIGURES).read_text()
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def run(names, directory, seconds=600.0):
    directory.mkdir()
    kinds = [Measurement(name, name, 1.0) for name in names]
    code = supervisor.run(kinds, {"small": False}, directory, seconds)
    lines = read(directory)
    assert lines[0]["figure"] == "command"
    assert lines[-1]["figure"] == "end"
    return code, [(line["measurement"], line["figure"]) for line in lines[1:-1]], lines


def is_alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_for(condition, seconds=60):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)


def test_figures_are_stored_and_passed_on(fakes, tmp_path, capsys):
    code, figures, lines = run(["quick", "reader"], tmp_path / "out")
    assert code == 0
    assert figures == [
        ("quick", "rate"),
        ("quick", "done"),
        ("reader", "rate"),
        ("reader", "done"),
    ]
    assert lines[1]["rate"] == 7.0
    assert lines[3]["value"] == 7.0
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in printed[1:3]] == [
        ["quick", "rate"],
        ["quick", "done"],
    ]
    log = (tmp_path / "out" / "logs" / "quick.log").read_text()
    assert log == "a library prints this\n"


def test_a_failure_leaves_a_line_and_the_next_one_starts(fakes, tmp_path):
    code, figures, lines = run(["broken", "missing", "quick"], tmp_path / "out")
    assert code == 0
    assert figures == [
        ("broken", "first"),
        ("broken", "failed"),
        ("missing", "failed"),
        ("quick", "rate"),
        ("quick", "done"),
    ]
    assert lines[2]["text"].endswith("ValueError: no such kernel")
    assert lines[3]["text"].endswith("No module named 'missing'")


def test_a_measurement_past_its_limit_keeps_its_figures(fakes, tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor, "SLACK", 1.0)
    # The share of the first of two is half of the time.
    seconds = 2 * 8.0 + supervisor.MARGIN
    code, figures, lines = run(["endless", "quick"], tmp_path / "out", seconds)
    assert code == 0
    assert figures == [
        ("endless", "first"),
        ("endless", "second"),
        ("endless", "timed out"),
        ("quick", "rate"),
        ("quick", "done"),
    ]
    assert "limit of 8 s" in lines[3]["text"]
    wait_for(lambda: not any(map(is_alive, lines[1]["pids"])))


def test_nothing_starts_when_no_time_is_left(fakes, tmp_path):
    code, figures, _ = run(["quick", "reader"], tmp_path / "out", seconds=1.0)
    assert code == 1
    assert figures == [("quick", "skipped"), ("reader", "skipped")]


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's parent death signal")
def test_a_kill_of_the_parent_keeps_all_and_ends_the_children(fakes, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    command = [sys.executable, "-c", PARENT, str(INSTRUMENT), str(out), "quick,endless"]
    parent = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    path = out / supervisor.FIGURES
    wait_for(lambda: path.exists() and "stored too" in path.read_text())
    pids = next(line["pids"] for line in read(out) if "pids" in line)
    assert all(map(is_alive, pids))

    parent.send_signal(signal.SIGKILL)
    assert parent.wait() == -signal.SIGKILL

    wait_for(lambda: not any(map(is_alive, pids)))
    assert [(line["measurement"], line["figure"]) for line in read(out)] == [
        ("run", "command"),
        ("quick", "rate"),
        ("quick", "done"),
        ("endless", "first"),
        ("endless", "second"),
    ]


def test_shares_follow_the_weights():
    kinds = [Measurement("a", "a", 1.0), Measurement("b", "b", 2.0)]
    kinds.append(Measurement("c", "c", 5.0))
    assert supervisor.share(kinds, 80.0) == supervisor.SLACK * 10.0
    assert supervisor.share(kinds[1:], 70.0) == supervisor.SLACK * 20.0
    assert supervisor.share(kinds[2:], 30.0) == 30.0  # never more than is left


# ---- programs

PROGRAM = """HloModule jit_f, is_scheduled=true

%fused (p: f32[4,4]) -> f32[4,4] {
  %p = f32[4,4]{1,0} parameter(0)
  ROOT %t = f32[4,4]{1,0} tanh(%p)
}

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

%body (s: (s32[], f32[4,4])) -> (s32[], f32[4,4]) {
  %s = (s32[], f32[4,4]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%s), index=0
  %x = f32[4,4]{1,0} get-tuple-element(%s), index=1
  %fusion.1 = f32[4,4]{1,0} fusion(%x), kind=kLoop, calls=%fused
  %gemm = (f32[4,4]{1,0}, s8[16]{0}) custom-call(%fusion.1, %x), custom_call_target="__cublas$gemm"
  %y = f32[4,4]{1,0} get-tuple-element(%gemm), index=0
  ROOT %out = (s32[], f32[4,4]{1,0}) tuple(%i, %y)
}

%cond (s.1: (s32[], f32[4,4])) -> pred[] {
  %s.1 = (s32[], f32[4,4]{1,0}) parameter(0)
  %i.1 = s32[] get-tuple-element(%s.1), index=0
  %n = s32[] constant(3)
  ROOT %less = pred[] compare(%i.1, %n), direction=LT
}

%graph (p.2: f32[4,4]) -> f32[] {
  %p.2 = f32[4,4]{1,0} parameter(0)
  %zero = f32[] constant(0)
  %copy.1 = f32[4,4]{1,0} copy(%p.2)
  ROOT %reduce.1 = f32[] reduce(%copy.1, %zero), dimensions={0,1}, to_apply=%add
}

ENTRY %main (x.1: f32[4,4]) -> f32[] {
  %x.1 = f32[4,4]{1,0} parameter(0)
  %zero.1 = s32[] constant(0)
  %start = (s32[], f32[4,4]{1,0}) tuple(%zero.1, %x.1)
  %loop = (s32[], f32[4,4]{1,0}) while(%start), condition=%cond, body=%body, backend_config={"known_trip_count":{"n":"3"}}
  %last = f32[4,4]{1,0} get-tuple-element(%loop), index=1
  ROOT %call = f32[] call(%last), to_apply=%graph
}
"""


def test_instructions_and_kernels_are_counted():
    size = program_size.size(PROGRAM)
    assert size.instructions == 2 + 3 + 7 + 4 + 4 + 6
    assert size.fusions == 1
    # A fusion and a product in the body, a comparison in the condition, two in the call.
    assert size.kernels == 5
    assert size.started == 3 * 3 + 2
    assert size.kinds == {
        "fusion": 1,
        "custom-call": 1,
        "compare": 1,
        "copy": 1,
        "reduce": 1,
    }


def test_a_loop_of_a_real_program_counts_its_rounds():
    def started(length):
        def function(x):
            step = lambda c, _: (jnp.sort(jnp.tanh(c @ c)), None)  # noqa: E731
            return jax.lax.scan(step, x, None, length=length)[0]

        text = jax.jit(function).lower(jnp.ones((32, 32))).compile().as_text()
        return program_size.size(text)

    seven, nine = started(7), started(9)
    assert seven.kernels == nine.kernels
    assert nine.started > seven.started > seven.kernels
    body = (nine.started - seven.started) / 2
    assert seven.started == seven.kernels + 6 * body


# ---- kernels

KERNELS = [
    Kernel("nvjet_tst_128x64", "", 0.0, 2.0),
    Kernel("loop_add_fusion_3", "loop_add_fusion.3", 3.0, 4.0),
    Kernel("memcpy", "", 3.5, 5.0),  # on another stream, at the same time
    Kernel("memset", "", 3.75, 4.0),  # within it
    Kernel("nvjet_tst_64x64", "", 8.0, 9.0),
]


def test_busy_time_and_gaps_of_kernels_that_overlap():
    assert kernel_events.busy_seconds(KERNELS) == 2.0 + 2.0 + 1.0
    assert kernel_events.gaps(KERNELS) == [1.0, 3.0]


def test_groups_have_their_time_their_number_and_the_gaps_before_them():
    shares = kernel_events.shares(KERNELS, lambda k: kernel_events.kind(k.name))
    assert [share[:3] for share in shares] == [
        ("matrix products", 3.0, 2),
        ("memory copied or set", 1.75, 2),
        ("element by element", 1.0, 1),
    ]
    assert [share.idle for share in shares] == [0.75, 0.0, 0.25]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n", "matrix products"),
        ("gemm_fusion_dot_12", "matrix products"),
        ("nvjet_hsh_256x128_64x4_1x2_h_bz_coopA_NNT", "matrix products"),
        ("void cutlass::Kernel2<cutlass_80_tensorop>", "matrix products"),
        ("input_reduce_fusion_4", "reductions"),
        ("triton_softmax_7", "softmax"),
        ("input_transpose_fusion", "transposes"),
        ("wrapped_scatter_1", "scatter"),
        ("input_scatter_fusion_2", "scatter"),
        ("loop_multiply_fusion_81", "element by element"),
        ("MemcpyD2D", "memory copied or set"),
        ("MemcpyH2D", "copies between host and device"),
        ("cudnn_generated_fort_native_sdpa_sm90_flash_fprop", "attention (fused)"),
        ("something_else", "other"),
    ],
)
def test_kernels_have_a_kind(name, kind):
    assert kernel_events.kind(name) == kind


def test_operations_are_named_by_instruction_and_by_kernel():
    operations = kernel_events.by_kernel_name({"loop_add_fusion.3": "jit(f)/add"})
    by_name = Kernel("loop_add_fusion_3", "", 0.0, 1.0)
    for kernel, expected in (
        (KERNELS[1], "jit(f)/add"),
        (by_name, "jit(f)/add"),
        (KERNELS[0], ""),
    ):
        assert kernel_events.operation_of(kernel, operations) == expected
    stats = [("correlation_id", 3), ("annotation", "Thunk:#hlo_op=dot.7,hlo_module=f#")]
    assert kernel_events._instruction(stats) == "dot.7"
    assert kernel_events._instruction([("hlo_op", "fusion.1"), *stats]) == "fusion.1"


# ---- what is measured


def test_made_up_texts_are_read_as_tweeteval(tmp_path):
    generated_inputs.write_texts(tmp_path, num_train=50)
    examples = sources.load_benchmark(TWEETEVAL, tmp_path)
    for task in TWEETEVAL.tasks:
        texts, labels, *_ = examples[task.name]["train"]
        assert len(texts) == 50
        assert set(np.unique(labels)) <= set(range(task.num_outputs))
    words = [len(t.split()) for t in examples["sentiment"]["train"].texts]
    assert 15 < np.mean(words) < 30
    assert np.std(words) > 5


def test_the_random_encoder_is_like_a_new_one():
    ours = generated_inputs.random_encoder(generated_inputs.SMALL)
    theirs = pretrained.init_encoder(generated_inputs.SMALL, jax.random.key(0))

    def assert_alike(a, b):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        if np.size(a) > 4000 or np.std(b) == 0:
            np.testing.assert_allclose(np.mean(a), np.mean(b), atol=2e-3)
            np.testing.assert_allclose(np.std(a), np.std(b), rtol=0.1)

    jax.tree.map(assert_alike, ours, theirs)


def test_the_longest_event_of_each_kind_counts():
    events = compile_events.Events()
    for name, seconds in (
        (compile_events.TRACE, 0.5),
        (compile_events.TRACE, 3.0),
        (compile_events.LOWER, 1.0),
        (compile_events.COMPILE, 0.25),
        (compile_events.COMPILE, 9.0),
    ):
        events.note(name, seconds)
    cold = events.values()
    assert (cold["trace_seconds"], cold["compile_seconds"]) == (3.0, 9.0)
    assert cold["num_compiled"] == 2
    assert cold["read_seconds"] is None
    events.note(compile_events.READ, 0.75)
    events.note(compile_events.SAVED, 8.0)
    warm = events.values()
    assert (warm["read_seconds"], warm["stored_compile_seconds"]) == (0.75, 8.75)
    assert warm["compile_seconds"] is None


def test_stages_are_shown_by_their_durations():
    ends = {"libraries": 2.0, "device": 5.0, "first step": 5.5}
    expected = "libraries 2.0, device 3.0, first step 0.5"
    assert start_stages._parts(ends) == expected


@nightly_only
def test_the_instrument_measures_a_small_run(tmp_path):
    script = str(INSTRUMENT / "gpu.py")
    names = "device,ew-128,start"
    flags = [f"--out={tmp_path}", "--minutes=9", "--small", f"--only={names}"]
    environment = {**os.environ, "XLA_FLAGS": ""}
    environment.pop("PYTHONPATH", None)
    subprocess.run([sys.executable, script, *flags], check=True, env=environment)
    figures = {(line["measurement"], line["figure"]): line for line in read(tmp_path)}
    done = [name for name, figure in figures if figure == "done"]
    assert done == ["prepare", *names.split(",")]
    rate = figures["device", "product"]["flop_per_second"]
    batch, step = figures["ew-128", "batch"], figures["ew-128", "step"]
    rows, length = batch["shape"]
    assert batch["processed_tokens"] == rows * length
    assert 0.5 < batch["real_tokens"] / batch["processed_tokens"] <= 1
    assert batch["texts"] == 16
    seconds = step["median_seconds"]
    assert step["lower_seconds"] <= seconds <= step["upper_seconds"]
    np.testing.assert_allclose(step["examples_per_second"], 16 / seconds)
    share = step["flop_per_step"] / seconds / rate
    np.testing.assert_allclose(step["share_of_product"], share)
    # One layer: keys and values of every token, the rest for the first of each text.
    width, inner, tokens = 32, 64, batch["real_tokens"]
    forward = tokens * 4 * width**2 + 16 * (4 * width**2 + 4 * width * inner)
    forward += 4 * tokens * width
    np.testing.assert_allclose(step["flop_per_step"], 3 * forward)
    assert figures["ew-128", "compile"]["num_read"] == 0
    assert figures["ew-128", "first step"]["num_compiled"] == 0
    assert figures["start", "cold, first step"]["num_read"] == 0
    assert figures["start", "warm, first step"]["num_read"] > 0
    stages = figures["start", "warm, first step"]["stages"]
    assert list(stages.values()) == sorted(stages.values())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--only=devise"], "--only devise: unknown; expected of prepare, device, "),
        (["--minutes=0"], "--minutes is 0.0; expected more than 0"),
        (["--data_dir=none"], "--data_dir none: expected a directory"),
        (["--out={}/file"], "file: File exists; expected a directory"),
        (["--threads=2"], "unrecognized arguments: --threads=2"),
    ],
)
def test_a_wrong_flag_is_reported_in_one_line(flags, message, tmp_path):
    (tmp_path / "file").touch()
    flags = [flag.format(tmp_path) for flag in flags]
    command = [sys.executable, str(INSTRUMENT / "gpu.py"), f"--out={tmp_path}", *flags]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert message in line
    assert not (tmp_path / supervisor.FIGURES).exists()


def test_the_probe_of_a_start_marks_functions_that_training_calls(monkeypatch):
    """`watch` replaces them by name, in a process that ends at the first step."""
    marked = []
    monkeypatch.setattr(
        start_probe,
        "mark_first",
        lambda module, name, mark, stage: marked.append(getattr(module, name)),
    )
    monkeypatch.setattr(Program, "__call__", Program.__call__)
    monkeypatch.setattr(
        jax.monitoring, "register_event_duration_secs_listener", lambda listen: None
    )
    start_probe.watch(None)
    assert len(marked) == 5
    assert all(map(callable, marked))
