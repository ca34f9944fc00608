"""Hub repositories (local copies of the layout) equal the publishers' files."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import datasets
import numpy as np
import pytest

from mtra_jax.data.built_in import hub, sources
from mtra_jax.data.built_in.tweeteval import STANCE_TARGETS
from mtra_jax.errors import InputError
from mtra_jax.tasks import AFFECTEVAL, GOEMOTIONS_LABELS, TWEETEVAL

PARTS = {"train": "train", "validation": "val", "test": "test"}
TEXTS = ["plain @user", "inner  blanks\tand\u2028breaks", "", 'quote "x"', "\u200bz"]
STANCE_CONFIGS = [f"stance_{target}" for target in STANCE_TARGETS]
TWEET_CONFIGS = [*TWEETEVAL.task_names[:-1], *STANCE_CONFIGS]


def write_repository(
    root: Path, configs: Mapping[str, Mapping[str, datasets.Dataset]]
) -> None:
    """Parquet files under each configuration, named in the YAML head of a README."""
    yaml = ["---", "configs:"]
    for config, splits in configs.items():
        yaml += [f"- config_name: {config}", "  data_files:"]
        for split, dataset in splits.items():
            file = f"{config}/{split}-00000-of-00001.parquet"
            (root / config).mkdir(parents=True, exist_ok=True)
            dataset.to_parquet(root / file)
            yaml += [f"  - split: {split}", f"    path: {config}/{split}-*"]
    (root / "README.md").write_text("\n".join([*yaml, "---", "# A data set", ""]))


def tweets(rows: Sequence[tuple[str, int]], names: Sequence[str]) -> datasets.Dataset:
    label = datasets.ClassLabel(names=list(names))
    features = datasets.Features({"text": datasets.Value("string"), "label": label})
    texts, labels = zip(*rows, strict=True)
    columns = {"text": list(texts), "label": list(labels)}
    return datasets.Dataset.from_dict(columns, features)


def comments(rows: Sequence[tuple[str, list[int]]]) -> datasets.Dataset:
    labels = datasets.List(datasets.ClassLabel(names=GOEMOTIONS_LABELS.split()))
    text = datasets.Value("string")
    features = datasets.Features({"text": text, "labels": labels, "id": text})
    columns = {
        "text": [text for text, _ in rows],
        "labels": [labels for _, labels in rows],
        "id": [f"id{number}" for number in range(len(rows))],
    }
    return datasets.Dataset.from_dict(columns, features)


def tweet_rows(config: str, split: str) -> list[tuple[str, int]]:
    """Other numbers of rows and orders of labels for each configuration and split."""
    task = config.partition("_")[0]
    (names,) = [t.labels for t in TWEETEVAL.tasks if t.name == task]
    start = TWEET_CONFIGS.index(config) + sources.SPLITS.index(split)
    return [
        (f"{text} {config}" if text else "", (start + number) % len(names))
        for number, text in enumerate(TEXTS[: 2 + start % 4])
    ]


COMMENT_ROWS = {
    split: [
        (f'{split} said ""twice"" ', [27]),
        (f"{split} both", [1, 2]),
        ("", [0]),
        (f'"{split}" quoted', [14]),
    ]
    for split in sources.SPLITS
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


@pytest.fixture
def roots(tmp_path):
    configs = {}
    for config in TWEET_CONFIGS:
        task = config.partition("_")[0]
        (names,) = [t.labels for t in TWEETEVAL.tasks if t.name == task]
        configs[config] = {
            split: tweets(tweet_rows(config, split), names) for split in sources.SPLITS
        }
    write_repository(tmp_path / "tweet_eval", configs)
    splits = {split: comments(rows) for split, rows in COMMENT_ROWS.items()}
    write_repository(tmp_path / "go_emotions", {"simplified": splits})
    return {
        "tweeteval": str(tmp_path / "tweet_eval"),
        "goemotions": str(tmp_path / "go_emotions"),
    }


@pytest.fixture
def files(tmp_path):
    """The same examples as publishers' files, with TweetEval's blank after each text."""
    root = tmp_path / "files"
    for config in TWEET_CONFIGS:
        folder = root / "tweeteval" / "datasets" / config.replace("_", "/")
        folder.mkdir(parents=True)
        for split, part in PARTS.items():
            rows = tweet_rows(config, split)
            texts = "".join(f"{text} \n" for text, _ in rows)
            labels = "".join(f"{label}\n" for _, label in rows)
            (folder / f"{part}_text.txt").write_bytes(texts.encode())
            (folder / f"{part}_labels.txt").write_bytes(labels.encode())
    folder = root / "affecteval" / "goemotions"
    folder.mkdir(parents=True)
    for split, part in {"train": "train", "validation": "dev", "test": "test"}.items():
        lines = []
        for text, labels in COMMENT_ROWS[split]:
            quoted = '"' + text.replace('"', '""') + '"' if '"' in text else text
            lines.append(f"{quoted}\t{','.join(map(str, labels))}\tid\n")
        (folder / f"{part}.tsv").write_text("".join(lines))
    return root


def assert_equal(actual: dict, expected: dict) -> None:
    assert list(actual) == list(expected)
    for name, splits in expected.items():
        assert list(actual[name]) == list(splits)
        for split, examples in splits.items():
            assert actual[name][split].texts == examples.texts
            assert actual[name][split].labels.dtype == examples.labels.dtype
            np.testing.assert_array_equal(actual[name][split].labels, examples.labels)


def test_tweeteval_from_the_hub_equals_the_files(roots, files):
    actual = hub.load_hub(TWEETEVAL, roots)
    assert_equal(actual, sources.load_benchmark(TWEETEVAL, files))
    last = actual["stance"]["test"].texts[-1]
    assert last.endswith("stance_hillary")
    assert actual["emotion"]["validation"].texts == [
        text for text, _ in tweet_rows("emotion", "validation")
    ]


def test_goemotions_and_emotion_from_the_hub_equal_the_files(roots, files):
    selected = AFFECTEVAL.select(["goemotions", "emotion"])
    actual = hub.load_hub(selected, roots)
    assert_equal(actual, sources.load_benchmark(selected, files))
    assert actual["goemotions"]["test"].texts == [
        'test said ""twice""',
        "",
        '"test" quoted',
    ]
    assert actual["goemotions"]["test"].labels.tolist() == [27, 0, 14]


@pytest.mark.parametrize("name", ["emobank", "ei-reg"])
def test_tasks_without_a_hub_data_set_name_the_script(name):
    with pytest.raises(
        InputError, match=r"no official hub.*`mtra-jax prepare --download` fetches"
    ):
        hub.load_hub(AFFECTEVAL.select([name]))


def repository(tmp_path: Path, rows: Mapping[str, Mapping[str, list]]) -> dict:
    splits = {split: datasets.Dataset.from_dict(rows[split]) for split in rows}
    write_repository(tmp_path / "broken", {"irony": splits})
    return {"tweeteval": str(tmp_path / "broken")}


def everywhere(**columns: list) -> dict[str, dict[str, list]]:
    return dict.fromkeys(sources.SPLITS, columns)


GOOD = {"text": ["a", "b"], "label": [0, 1]}
BROKEN = {
    r"broken/irony: no split 'test'; found train, validation$": {"test": None},
    r"broken/irony, train: no column 'label'; found text, stance$": everywhere(
        text=["a"], stance=[1]
    ),
    r"broken/irony, train: no column 'text'; found label$": everywhere(label=[1]),
    r"irony, test, row 2: label 2 of IronyEval; expected an integer from 0 to 1$": {
        "test": {"text": ["a", "b"], "label": [1, 2]}
    },
    # The hub's mark of an unlabelled row.
    r"irony, test, row 1: label -1 of": {"test": {"text": ["a"], "label": [-1]}},
    r"irony, train, row 1: label 1.0 of": everywhere(text=["a"], label=[1.0]),
    r"irony, train, row 1: text None; expected a string$": {
        "train": {"text": [None, "b"], "label": [0, 1]}
    },
    r"configuration 'irony': .*no data": {"validation": {"text": [], "label": []}},
    r"configuration 'irony': .*truncated converting": {
        "test": {"text": ["a"], "label": [0.5]}
    },
}


@pytest.mark.parametrize("message", BROKEN)
def test_broken_repositories_get_one_line(tmp_path, message):
    rows = everywhere(**GOOD) | BROKEN[message]
    roots = repository(tmp_path, {s: r for s, r in rows.items() if r is not None})
    with pytest.raises(InputError, match=message) as caught:
        hub.load_hub(TWEETEVAL.select(["irony"]), roots)
    assert "\n" not in str(caught.value)


def test_missing_repositories_and_configurations_get_one_line(tmp_path):
    roots = repository(tmp_path, everywhere(**GOOD))
    (tmp_path / "empty").mkdir()
    for task, given in (
        ("hate", roots),
        ("irony", {"tweeteval": str(tmp_path / "nowhere")}),
        ("irony", {"tweeteval": str(tmp_path / "empty")}),
        ("irony", hub.HUB_DATASETS),  # offline
    ):
        with pytest.raises(InputError, match=f"configuration '{task}'") as caught:
            hub.load_hub(TWEETEVAL.select([task]), given)
        assert str(caught.value).startswith(given["tweeteval"])
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"no hub data set given for 'goemotions'"):
        hub.load_hub(AFFECTEVAL.select(["goemotions"]), roots)


def test_code_in_a_repository_is_never_run(tmp_path):
    root, marker = tmp_path / "scripted", tmp_path / "ran"
    root.mkdir()
    (root / "scripted.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    with pytest.raises(InputError, match="configuration 'irony'"):
        hub.load_hub(TWEETEVAL.select(["irony"]), {"tweeteval": str(root)})
    assert not marker.exists()
