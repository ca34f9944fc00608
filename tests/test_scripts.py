"""The scripts as a user runs them: real processes, files and exit codes."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xla_flags
from messages import assert_mentions
from tiers import NIGHTLY_ONLY, nightly_only

from mtra_jax import config as configs
from mtra_jax import metrics
from mtra_jax.data import benchmarks
from mtra_jax.methods import registry
from mtra_jax.runs.directory import layout
from mtra_jax.tasks import SYNTHETIC

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.processes
DEFAULT = "configs/mtra.py:tiny_synthetic"
MTRA = "configs/mtra.py:new_synthetic"
EW = "configs/baselines.py:ew_new_synthetic"
EPOCHS = 2
# Small enough for seconds: a quarter of a tiny benchmark, two tasks, a smaller encoder.
SMALL = (
    "--config.tasks=irony,intensity",
    "--config.epochs=2",
    "--config.backbone.hidden_size=32",
    "--config.backbone.intermediate_size=64",
    "--config.data.max_shapes=1",
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def command(script, *flags):
    return [sys.executable, str(ROOT / "scripts" / script), *flags]


def environment(as_user=False):
    """One device, and the package found without an installation.

    `as_user`: with XLA's own settings, otherwise with those that compile quickly.
    """
    quick = xla_flags.environment()
    return {k: v for k, v in quick.items() if not (as_user and k == "XLA_FLAGS")}


def run(script, *flags, code=0, text=None, as_user=False):
    done = subprocess.run(
        command(script, *map(str, flags)),
        cwd=ROOT,
        env=environment(as_user),
        input=text,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == code, done.stderr[-3000:]
    return done


def train(preset, workdir, cache, *flags, **options):
    return run(
        "train.py",
        f"--config={preset}",
        f"--workdir={workdir}",
        f"--config.data.cache_dir={cache}",
        *flags,
        **options,
    )


def results_of(workdir):
    result = json.loads((workdir / "results.json").read_text())
    result.pop("train_seconds")
    result.pop("scoring_seconds")
    return result


def lines_of(workdir):
    """`metrics.jsonl` as dictionaries."""
    text = (workdir / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def default_run(tmp_path_factory, cache):
    """The run of `make train`, in fewer epochs."""
    workdir = tmp_path_factory.mktemp("runs") / "default"
    done = train(DEFAULT, workdir, cache, f"--config.epochs={EPOCHS}", as_user=True)
    return workdir, done.stdout


@pytest.fixture(scope="module")
def small(tmp_path_factory, cache):
    """A work directory, and the process that trained there."""
    workdir = tmp_path_factory.mktemp("runs") / "small"
    return workdir, train(MTRA, workdir, cache, *SMALL, as_user=True)


@pytest.fixture(scope="module")
def small_run(small):
    return small[0]


def test_mtra_learns_the_synthetic_benchmark(default_run):
    workdir, output = default_run
    results = results_of(workdir)
    examples = benchmarks.read_examples(SYNTHETIC, "")
    majority = {
        task.name: metrics.majority_baseline(
            task,
            examples[task.name]["train"].labels,
            examples[task.name]["test"].labels,
        )
        for task in SYNTHETIC.tasks
    }
    floor = metrics.average(majority, SYNTHETIC.tasks)
    assert results["test"]["avg"] >= floor + 20
    rows = {line.split()[0]: line for line in output.splitlines() if line.strip()}
    assert rows["MTRA"].endswith(f" {results['test']['avg']:.2f}")
    assert rows["majority"].endswith(f" {floor:.2f}")
    seconds = json.loads((workdir / "results.json").read_text())
    assert output.splitlines()[-1] == (
        f"{seconds['train_seconds']:.0f} s of training, "
        f"{seconds['scoring_seconds']:.0f} s of scoring; files in {workdir}"
    )
    assert 0 < seconds["scoring_seconds"] < seconds["train_seconds"]


def test_a_run_leaves_its_files(default_run):
    workdir, _ = default_run
    config = json.loads((workdir / "config.json").read_text())
    assert config.pop("format") == layout.FORMAT
    expected = configs.to_dict(configs.load(DEFAULT))
    assert config == expected | {"data": config["data"], "epochs": EPOCHS}
    assert {"packages", "devices", "git_revision"} <= set(
        json.loads((workdir / "environment.json").read_text())
    )
    steps = [line["step"] for line in lines_of(workdir) if "objective" in line]
    assert steps == list(range(1, len(steps) + 1))
    assert list((workdir / "tensorboard").glob("events.*"))
    examples = benchmarks.read_examples(SYNTHETIC, "")
    for task in SYNTHETIC.tasks:
        rows = (workdir / "predictions" / f"{task.name}.txt").read_text().splitlines()
        result = np.array(rows, float).reshape(len(rows), -1)
        if task.is_classification:
            result = result[:, 0].astype(int)
        scores = metrics.score(task, result, examples[task.name]["test"].labels)
        assert scores == pytest.approx(results_of(workdir)["test"][task.name], rel=1e-9)


def test_evaluate_gives_the_same_figures(default_run, cache):
    workdir, _ = default_run
    for split in ("test", "validation"):
        done = run(
            "evaluate.py",
            f"--workdir={workdir}",
            f"--split={split}",
            f"--cache_dir={cache}",
            as_user=True,
        )
        assert json.loads(done.stdout) == results_of(workdir)[split]


def test_predict_gives_the_labels_of_the_test_files(default_run, cache):
    """All tasks of one pass; for two of them, of different kinds, also alone."""
    workdir, _ = default_run
    examples = benchmarks.read_examples(SYNTHETIC, "")
    texts = [
        text
        for task in SYNTHETIC.tasks
        for text in examples[task.name]["test"].texts[:50]
    ]
    flags = (f"--workdir={workdir}", f"--cache_dir={cache}")
    content = "\n".join(texts) + "\n"
    records = [
        json.loads(line)
        for line in run(
            "predict.py", *flags, text=content, as_user=True
        ).stdout.splitlines()
    ]
    assert [record.pop("text") for record in records] == texts
    for number, task in enumerate(SYNTHETIC.tasks):
        own = [r[task.name] for r in records[50 * number : 50 * (number + 1)]]
        rows = (workdir / "predictions" / f"{task.name}.txt").read_text().splitlines()
        if task.is_classification:
            assert [r["label"] for r in own] == [
                task.labels[int(row)] for row in rows[:50]
            ]
            assert all(
                sum(r["probabilities"].values()) == pytest.approx(1, abs=1e-5)
                for r in own
            )
        else:
            actual = [list(r["values"].values()) for r in own]
            expected = [[float(x) for x in row.split("\t")] for row in rows[:50]]
            np.testing.assert_allclose(actual, expected, atol=1e-5)
    for name in ("stance", "intensity"):
        alone = run("predict.py", *flags, f"--task={name}", text=content, as_user=True)
        assert [record[name] for record in records] == [
            json.loads(line) for line in alone.stdout.splitlines()
        ]


def test_transformers_loads_the_encoder(default_run):
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    workdir, _ = default_run
    model, info = transformers.AutoModel.from_pretrained(
        workdir / "encoder", add_pooling_layer=False, output_loading_info=True
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(workdir / "encoder")
    assert len(tokenizer) == model.config.vocab_size


@nightly_only
def test_the_same_seed_gives_the_same_figures(small_run, tmp_path, cache):
    train(MTRA, tmp_path / "again", cache, *SMALL, as_user=True)
    assert results_of(tmp_path / "again") == results_of(small_run)
    assert lines_of(tmp_path / "again") == lines_of(small_run)
    encoders = [
        (workdir / "encoder" / "model.safetensors").read_bytes()
        for workdir in (tmp_path / "again", small_run)
    ]
    assert encoders[0] == encoders[1]


@nightly_only
def test_a_stopped_run_continues_to_the_same_end(small_run, tmp_path, cache):
    workdir = tmp_path / "stopped"
    flags = [
        f"--config={MTRA}",
        f"--workdir={workdir}",
        f"--config.data.cache_dir={cache}",
        "--config.checkpoint_every=4",
        *SMALL,
    ]
    script = command("train.py", *flags)[1:]
    # At the tenth record: the checkpoint of step 8 waited for that of step 4.
    fault = [
        [
            "mtra_jax.runs.directory.metrics_log:MetricsLog.add",
            10,
            "signal",
            signal.SIGKILL,
        ]
    ]
    killed = subprocess.run(
        [sys.executable, "tests/runs/fault.py", json.dumps(fault), *script],
        cwd=ROOT,
        env=environment(as_user=True),
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert not (workdir / "results.json").exists()
    done = run("train.py", *flags, as_user=True)
    assert "continuing at step" in done.stdout
    assert results_of(workdir) == results_of(small_run)
    assert lines_of(workdir) == lines_of(small_run)


def test_a_log_is_short_and_quiet_prints_the_table_and_problems_only(small, cache):
    small_run, done = small
    assert len(done.stderr.encode()) < 4000
    assert "\r" not in done.stderr
    first = done.stderr.splitlines()[0]
    assert re.fullmatch(
        r"step 1/\d+, epoch 1/2, after \d+ s with compiling, losses: \w+ \d\.\d\d",
        first,
    )
    quiet = train(MTRA, small_run, cache, *SMALL, "--quiet", as_user=True)
    problems = [
        line for line in done.stdout.splitlines() if line.startswith("no better")
    ]
    assert quiet.stderr.splitlines() == [f"warning: {line}" for line in problems]
    head, *table = quiet.stdout.splitlines()
    assert head.startswith("Test figures in percent. Best epoch ")
    assert [line.split()[0] for line in table[2:]] == ["majority", "MTRA"]
    assert quiet.stdout.strip() in done.stdout


@nightly_only
def test_a_limit_is_part_of_the_run_and_of_its_evaluation(tmp_path, cache):
    limit = "--config.data.limit=12"
    workdir = tmp_path / "run"
    train(MTRA, workdir, cache, *SMALL, "--quiet", limit)
    results = results_of(workdir)
    twelve = {"train": 12, "validation": 12, "test": 12}
    assert results["examples"] == {"irony": twelve, "intensity": twelve}
    assert json.loads((workdir / "config.json").read_text())["data"]["limit"] == 12
    inputs = json.loads((workdir / "inputs.json").read_text())
    assert inputs["data"]["irony"]["test"]["examples"] == 600
    rows = (workdir / "predictions" / "irony.txt").read_text().splitlines()
    assert len(rows) == 12
    scored = run("evaluate.py", f"--workdir={workdir}", f"--cache_dir={cache}")
    assert json.loads(scored.stdout) == results["test"]
    assert "data.limit of the run: at most 12 examples of each task" in scored.stderr
    assert "not the data of the run" not in scored.stderr
    other = "--config.data.limit=13"
    refused = train(MTRA, workdir, cache, *SMALL, other, code=2)
    assert "data.limit is 12 there and 13 here" in refused.stderr


def test_a_finished_run_is_scored_again_and_not_trained(small_run, cache):
    before = results_of(small_run), lines_of(small_run)
    train(MTRA, small_run, cache, *SMALL, as_user=True)
    assert (results_of(small_run), lines_of(small_run)) == before


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(
            {"sampling": "joint", "method.marginal": "all_pairs"}, marks=NIGHTLY_ONLY
        ),
        {"method.task_alignment": "false", "compute_dtype": "bfloat16"},
        pytest.param(
            {
                "method.self_alignment": "false",
                "method.logarithm": "false",
                "data.fraction": "0.3",
                "data.label_noise": "0.4",
            },
            marks=NIGHTLY_ONLY,
        ),
    ],
    ids=lambda changes: "+".join(changes),
)
def test_every_variant_trains(changes, tmp_path, cache):
    """Their values are compared elsewhere; here the flags reach the run."""
    flags = [f"--config.{key}={value}" for key, value in changes.items()]
    train(MTRA, tmp_path / "run", cache, *SMALL, "--config.epochs=1", *flags)
    assert np.isfinite(results_of(tmp_path / "run")["test"]["avg"])
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    for key, text in changes.items():
        section, _, name = key.rpartition(".")
        value = (config[section] if section else config)[name]
        assert str(value).lower() == text


@nightly_only
def test_equal_weighting_trains(tmp_path, cache):
    train(EW, tmp_path / "run", cache, *SMALL)
    losses = [
        line["objective"] for line in lines_of(tmp_path / "run") if "loss/irony" in line
    ]
    assert min(losses) < losses[0]
    weights = {
        line[key]
        for line in lines_of(tmp_path / "run")
        for key in line
        if key.startswith("weight/")
    }
    assert weights == {0.5}


@pytest.mark.parametrize(
    ("script", "flags", "parts"),
    [
        (
            "train.py",
            ["--config=configs/mtra.py:new_sinthetic", "--workdir=/no/where"],
            ["'new_sinthetic'", "new_synthetic"],
        ),
        ("evaluate.py", [], ["--workdir", "--predictions"]),
        ("predict.py", ["--workdir=/no/where", "--task=irony"], ["/no/where"]),
    ],
)
def test_bad_input_is_one_line(script, flags, parts, tmp_path):
    """One case for each script; tests/test_bad_input.py has the others in one process."""
    done = run(script, *flags, code=2)
    assert done.stderr.startswith("error: ")
    assert_mentions(done.stderr, *parts)
    assert not done.stdout


@nightly_only
@pytest.mark.parametrize("method", ["stl_cnn"])
def test_single_task_learning_puts_the_runs_together(method, tmp_path, cache):
    """The figures of each task are those of a run with that task alone."""
    preset = f"configs/baselines.py:{method}_new_synthetic"
    flags = (*SMALL, "--config.epochs=1", "--config.data.limit=60")
    workdir = tmp_path / "both"
    done = train(preset, workdir, cache, *flags)
    actual = results_of(workdir)
    alone = tmp_path / "alone"
    train(preset, alone, cache, *flags, "--config.tasks=intensity")
    single = results_of(alone)
    assert actual["test"]["intensity"] == single["test"]["intensity"]
    assert actual["best_epoch"] == {"irony": 1, "intensity": 1}
    parts = [results_of(workdir / name) for name in ("irony", "intensity")]
    assert parts[1] == single
    for split in ("validation", "test", "majority"):
        scores = [part[split]["avg"] for part in parts]
        np.testing.assert_allclose(actual[split]["avg"], np.mean(scores), rtol=1e-12)
    (row,) = (
        x
        for x in done.stdout.splitlines()
        if x.startswith(registry.METHODS[method].title)
    )
    assert row.endswith(f" {actual['test']['avg']:.2f}")
    for part in ("encoder", "heads", "method"):
        sizes = [run["parameters"][part] for run in parts]
        assert actual["parameters"][part] == sum(sizes)
    for name in ("irony.txt", "intensity.txt"):
        task = name.removesuffix(".txt")
        expected = (workdir / task / "predictions" / name).read_bytes()
        assert (workdir / "predictions" / name).read_bytes() == expected

    own = ("--workdir", workdir, "--cache_dir", cache)
    scored = run("evaluate.py", *own)
    assert json.loads(scored.stdout) == actual["test"]
    said = run("predict.py", *own, "--task", "irony", text="so good\n")
    assert json.loads(said.stdout)["label"] in ("sincere", "ironic")
    both = json.loads(run("predict.py", *own, text="so good\n").stdout)
    assert both["irony"] == json.loads(said.stdout)
    assert list(both) == ["text", "irony", "intensity"]
    before = (workdir / "results.json").read_bytes()
    again = train(preset, workdir, cache, *flags)
    assert "steps an epoch" not in again.stdout
    assert (workdir / "results.json").read_bytes() == before


@pytest.mark.shared
def test_a_pretrained_encoder_trains_on_real_tweets(
    tmp_path, cache, shared_data, minilm
):
    flags = (
        "--config.tasks=irony",
        "--config.data.fraction=0.05",
        "--config.epochs=1",
        "--config.batch_size=32",
        "--config.data.max_shapes=1",
        "--config.data.max_length=64",
        f"--config.data.dir={shared_data}",
        f"--config.backbone.path={minilm}",
    )
    workdir = tmp_path / "run"
    train("configs/mtra.py:minilm_tweeteval", workdir, cache, *flags, as_user=True)
    done = run(
        "evaluate.py",
        f"--predictions={workdir / 'predictions'}",
        "--benchmark=tweeteval",
        "--tasks=irony",
        f"--data_dir={shared_data}",
    )
    assert json.loads(done.stdout) == results_of(workdir)["test"]
