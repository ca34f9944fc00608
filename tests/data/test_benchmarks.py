"""Examples of every split as configured: fractions, noise, corpora, one-line errors."""

import numpy as np
import pytest
from messages import assert_mentions

from mtra_jax.data import benchmarks
from mtra_jax.data.built_in import sources, synthetic
from mtra_jax.data.tokenizing import tokens
from mtra_jax.errors import InputError
from mtra_jax.tasks import AFFECTEVAL, SYNTHETIC, TWEETEVAL


@pytest.fixture(scope="module")
def made():
    """The whole synthetic benchmark."""
    return synthetic.generate(seed=0)


def load(benchmark=SYNTHETIC, data_dir="", **options):
    splits = benchmarks.read_examples(benchmark, data_dir)
    return benchmarks.thin(benchmark, splits, **options)


def labels_of(examples):
    """Text -> label; the texts of the benchmark are distinct."""
    return dict(zip(examples.texts, examples.labels.tolist(), strict=True))


# ---- examples


def test_by_default_all_examples_are_read_in_order(made):
    actual = load(seed=5)
    assert tuple(actual) == SYNTHETIC.task_names
    for name, splits in made.items():
        assert tuple(actual[name]) == sources.SPLITS
        for split, examples in splits.items():
            assert actual[name][split].texts == examples.texts
            np.testing.assert_array_equal(actual[name][split].labels, examples.labels)
            assert actual[name][split].labels.dtype == examples.labels.dtype


@pytest.mark.parametrize(
    ("fraction", "sizes"),
    [(0.5, [1250, 750, 500, 250, 500]), (0.01, [25, 15, 10, 5, 10]), (1e-9, [1] * 5)],
)
def test_fraction_thins_the_training_examples_only(made, fraction, sizes):
    actual = load(fraction=fraction)
    assert [len(splits["train"].texts) for splits in actual.values()] == sizes
    for name, splits in actual.items():
        whole = made[name]["train"]
        places = {text: i for i, text in enumerate(whole.texts)}
        rows = [places[text] for text in splits["train"].texts]
        assert rows == sorted(rows)
        np.testing.assert_array_equal(splits["train"].labels, whole.labels[rows])
        for split in ("validation", "test"):
            assert splits[split].texts == made[name][split].texts
            np.testing.assert_array_equal(
                splits[split].labels, made[name][split].labels
            )


def test_fractions_are_random_and_nested():
    seeds = [load(fraction=0.2, seed=seed) for seed in (0, 0, 1)]
    first, again, other = (actual["polarity"]["train"].texts for actual in seeds)
    assert first == again
    # By chance 20 % of them are the same: 100 of 500, standard deviation 8.
    assert 60 < len(set(first) & set(other)) < 140
    smaller = load(fraction=0.1, seed=1)["polarity"]["train"].texts
    assert set(smaller) < set(other)
    larger = load(fraction=0.7, seed=1)["polarity"]["train"].texts
    assert set(other) < set(larger)


@pytest.mark.parametrize("share", [0.2, 0.5, 1.0])
def test_noise_draws_labels_anew_in_training_only(made, share):
    actual = load(label_noise=share, seed=2)
    for task in SYNTHETIC.tasks:
        whole, train = made[task.name]["train"], actual[task.name]["train"]
        assert train.texts == whole.texts
        assert train.labels.dtype == whole.labels.dtype
        changed = train.labels != whole.labels
        chosen = round(share * len(whole.texts))
        if task.is_classification:
            # A draw is wrong in K - 1 of K cases. Four standard deviations.
            wrong = 1 - 1 / task.num_outputs
            spread = np.sqrt(chosen * wrong * (1 - wrong))
            assert abs(changed.sum() - chosen * wrong) < 4 * spread
            assert set(train.labels.tolist()) == set(range(task.num_outputs))
        else:
            assert 0.5 * chosen < changed.sum() <= chosen
            assert set(train.labels[:, 0].tolist()) <= set(whole.labels[:, 0].tolist())
        for split in ("validation", "test"):
            np.testing.assert_array_equal(
                actual[task.name][split].labels, made[task.name][split].labels
            )


def test_noise_and_fraction_together(made):
    clean = load(fraction=0.3, seed=4)
    noisy = load(fraction=0.3, label_noise=0.4, seed=4)
    noisier = load(fraction=0.3, label_noise=0.8, seed=4)
    for name in SYNTHETIC.task_names:
        one, few, many = (part[name]["train"] for part in (clean, noisy, noisier))
        assert one.texts == few.texts == many.texts
        changed = np.flatnonzero(one.labels != few.labels)
        assert 0 < len(changed) < 0.4 * len(one.texts)
        np.testing.assert_array_equal(few.labels[changed], many.labels[changed])


@pytest.mark.parametrize("limit", [1, 8, 400, 10_000])
def test_a_limit_caps_every_split_of_every_task_in_order(made, limit):
    for name, splits in load(limit=limit).items():
        for split, part in splits.items():
            whole = made[name][split]
            assert len(part.texts) == min(limit, len(whole.texts))
            places = {text: i for i, text in enumerate(whole.texts)}
            rows = [places[text] for text in part.texts]
            assert rows == sorted(rows)
            np.testing.assert_array_equal(part.labels, whole.labels[rows])


def test_a_limit_of_the_number_of_classes_holds_each_class_once():
    for task in SYNTHETIC.tasks:
        if task.is_classification:
            actual = load(SYNTHETIC.select([task.name]), limit=task.num_outputs)
            for part in actual[task.name].values():
                assert sorted(part.labels.tolist()) == list(range(task.num_outputs))


def test_a_limit_does_not_depend_on_the_seed_and_larger_ones_hold_smaller_ones():
    first, other, larger = (
        load(limit=limit, seed=seed) for limit, seed in ((30, 0), (30, 1), (50, 0))
    )
    for name, splits in first.items():
        for split, part in splits.items():
            assert part.texts == other[name][split].texts
            assert set(part.texts) < set(larger[name][split].texts)


def test_a_limit_is_a_random_choice(made):
    """Not the first texts, and other places in validation than in test."""
    actual = load(limit=100)["intensity"]
    rows = {
        split: {
            made["intensity"][split].texts.index(text) for text in actual[split].texts
        }
        for split in ("validation", "test")
    }
    # By chance a third of 100 lie in the first 100 of 300; a sixth of 600.
    assert 18 < len(rows["validation"] & set(range(100))) < 50
    assert len(rows["validation"] & rows["test"]) < 40


def test_a_limit_comes_after_the_fraction_and_the_noise(made):
    noised = load(fraction=0.1, label_noise=1.0, seed=3)
    limited = load(fraction=0.1, label_noise=1.0, seed=3, limit=40)
    for name, splits in limited.items():
        labels = labels_of(noised[name]["train"])
        assert len(splits["train"].texts) == 40
        assert labels_of(splits["train"]).items() <= labels.items()


def test_a_limit_keeps_the_targets_of_stances():
    targets = (("abortion", 2), ("atheism", 0), ("climate", 3))
    texts = ["a0", "a1", "c0", "c1", "c2"]
    part = sources.Examples(texts, np.array([0, 0, 1, 2, 2], np.int32), targets)
    benchmark = TWEETEVAL.select(["stance"])
    for limit in (1, 3, 5, 9):
        actual = benchmarks.limit_examples(benchmark, {"stance": {"test": part}}, limit)
        chosen = actual["stance"]["test"]
        counts = [sum(t[0] == name[0] for t in chosen.texts) for name, _ in targets]
        counts[1] = 0  # "atheism" begins like "abortion", and has no text
        names = ("abortion", "atheism", "climate")
        assert chosen.targets == tuple(zip(names, counts, strict=True))
        assert len(chosen.texts) == min(limit, 5)


def test_the_examples_of_a_task_do_not_depend_on_other_tasks():
    options = {"fraction": 0.25, "label_noise": 0.3, "seed": 3}
    together = load(**options)
    for names in (["stance"], ["polarity", "stance"], ["intensity"]):
        for name, splits in load(SYNTHETIC.select(names), **options).items():
            assert splits["train"].texts == together[name]["train"].texts
            np.testing.assert_array_equal(
                splits["train"].labels, together[name]["train"].labels
            )


def test_tasks_draw_independently_of_each_other(made):
    """Two tasks of 1000 examples draw different places."""
    halves = []
    for name, splits in load(fraction=0.5).items():
        places = {text: i for i, text in enumerate(made[name]["train"].texts)}
        if len(places) == 1000:
            halves.append({places[text] for text in splits["train"].texts})
    one, other = halves
    assert abs(len(one & other) - 250) < 50


def test_only_the_chosen_tasks_are_read(made):
    actual = load(SYNTHETIC.select(["irony"]))
    assert tuple(actual) == ("irony",)
    assert actual["irony"]["test"].texts == made["irony"]["test"].texts


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fraction": 0.0}, "data.fraction must lie in (0, 1]; found 0.0"),
        ({"fraction": 1.5}, "data.fraction must lie in (0, 1]; found 1.5"),
        ({"label_noise": -0.1}, "data.label_noise must lie in [0, 1]; found -0.1"),
    ],
)
def test_wrong_shares_are_refused(options, message):
    with pytest.raises(InputError) as caught:
        load(**options)
    assert str(caught.value) == message


@pytest.mark.parametrize("benchmark", [TWEETEVAL, AFFECTEVAL], ids=lambda b: b.name)
def test_an_empty_data_dir_is_refused_with_the_two_choices(benchmark):
    with pytest.raises(InputError) as caught:
        benchmarks.read_examples(benchmark, "")
    assert_mentions(
        caught.value,
        *("data.dir", benchmark.name, "--config.data.dir=DIR"),
        *("`mtra-jax prepare`", "--config.data.dir=hub"),
    )


def test_data_dir_decides_between_hub_and_files(monkeypatch, tmp_path):
    def reader(name):
        return lambda *asked, **options: read.append((name, *asked, options))

    read = []
    monkeypatch.setattr(sources, "load_benchmark", reader("files"))
    monkeypatch.setattr(benchmarks.hub, "load_hub", reader("hub"))
    chosen = TWEETEVAL.select(["irony"])
    benchmarks.read_examples(chosen, "hub")
    benchmarks.read_examples(chosen, str(tmp_path), ["test"])
    assert read == [
        ("hub", chosen, {"splits": sources.SPLITS}),
        ("files", chosen, str(tmp_path), ["test"], {}),
    ]


@pytest.mark.shared
def test_real_files(shared_data):
    chosen = AFFECTEVAL.select(["emotion", "ei-reg"])
    whole = sources.load_benchmark(chosen, shared_data)
    actual = load(chosen, str(shared_data), fraction=0.1, seed=1)
    for name, splits in actual.items():
        train = whole[name]["train"]
        assert len(splits["train"].texts) == round(0.1 * len(train.texts))
        assert splits["test"].texts == whole[name]["test"].texts
        assert set(splits["train"].texts) <= set(train.texts)


# ---- names


@pytest.mark.parametrize(
    ("tasks", "expected"),
    [
        ("", TWEETEVAL.task_names),
        ("stance", ("stance",)),
        ("stance,emotion", ("emotion", "stance")),
        (" irony , hate ", ("hate", "irony")),
    ],
)
def test_choose_benchmark(tasks, expected):
    actual = benchmarks.choose_benchmark("tweeteval", tasks)
    assert actual.name == "tweeteval"
    assert actual.task_names == expected


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("tweetval",), "unknown benchmark 'tweetval'; did you mean tweeteval?"),
        (
            ("tweeteval", "hate,irny"),
            "unknown task 'irny' of tweeteval; did you mean irony?",
        ),
    ],
)
def test_unknown_names_are_refused_with_similar_ones(names, message):
    with pytest.raises(InputError) as caught:
        benchmarks.choose_benchmark(*names)
    assert str(caught.value) == message


# ---- corpora


def test_training_texts_come_task_by_task(made):
    actual = benchmarks.train_texts(SYNTHETIC.select(["irony", "target"]), made)
    assert actual == made["target"]["train"].texts + made["irony"]["train"].texts


@pytest.mark.parametrize("cached", [False, True])
def test_corpora_hold_the_tokens_and_targets_of_each_split(made, tmp_path, cached):
    benchmark = SYNTHETIC.select(["stance", "intensity"])
    tokenizer = tokens.train_tokenizer(made["stance"]["train"].texts, 400)
    cache_dir = tmp_path if cached else None
    for _ in range(2):  # with a cache, the second time from files
        corpora = benchmarks.build_corpora(
            benchmark, made, tokenizer, max_length=20, cache_dir=cache_dir
        )
    assert tuple(corpora) == sources.SPLITS
    for split, corpus in corpora.items():
        stance, intensity = made["stance"][split], made["intensity"][split]
        assert corpus.sizes == (len(stance.texts), len(intensity.texts))
        np.testing.assert_array_equal(corpus.tasks, np.repeat([0, 1], corpus.sizes))
        expected = np.zeros((sum(corpus.sizes), 4))
        expected[: corpus.sizes[0], :3] = np.eye(3)[stance.labels]
        expected[corpus.sizes[0] :, 3:] = intensity.labels
        np.testing.assert_array_equal(corpus.targets, np.float32(expected))
        assert len(corpus.tokens.offsets) == sum(corpus.sizes) + 1
        tokenizer.enable_truncation(20)
        for example, text in [(0, stance.texts[0]), (-1, intensity.texts[-1])]:
            start = corpus.tokens.offsets[:-1][example]
            end = corpus.tokens.offsets[1:][example]
            assert corpus.tokens.ids[start:end].tolist() == tokenizer.encode(text).ids
        tokenizer.no_truncation()
    assert len(list(tmp_path.iterdir())) == (6 if cached else 0)


def test_corpora_of_chosen_splits_only(made):
    benchmark = SYNTHETIC.select(["stance"])
    tokenizer = tokens.train_tokenizer(made["stance"]["train"].texts, 400)
    actual = benchmarks.build_corpora(
        benchmark,
        made,
        tokenizer,
        max_length=20,
        cache_dir=None,
        splits=("test",),
    )
    assert tuple(actual) == ("test",)
    assert actual["test"].sizes == (600,)
