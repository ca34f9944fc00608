"""Plans of epochs, partners, packing into batches and back, and the prefetch thread."""

import itertools
import threading
import time
from collections import Counter

import numpy as np
import pytest

from mtra_jax.data.built_in import sources
from mtra_jax.data.packed import batches, packing, plans, shapes
from mtra_jax.data.packed.packing import Shape
from mtra_jax.data.splits.examples import Examples
from mtra_jax.data.tokenizing import tokens
from mtra_jax.tasks import TWEETEVAL, Benchmark, Task

SIZES = (50, 7, 128, 33)
STARTS = (0, 50, 57, 185)
TASK_OF = np.repeat(np.arange(4), SIZES)

BENCHMARK = Benchmark(
    "three",
    (
        Task("topic", "Topic", "classification", ("a", "b", "c"), ("macro_f1",)),
        Task("affect", "Affect", "regression", ("v", "w"), ("pearson_v",)),
        Task("irony", "Irony", "classification", ("no", "yes"), ("macro_f1",)),
    ),
)


def make_corpus(sizes=(70, 30, 25), longest=60, seed=0):
    """Random token ids, and labels as the readers give them."""
    rng = np.random.default_rng(seed)
    topic, affect, irony = sizes
    lengths = rng.integers(1, longest + 1, sum(sizes))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = rng.integers(1, 30000, offsets[-1]).astype(np.int32)
    labels = {
        "topic": rng.integers(3, size=topic).astype(np.int32),
        "affect": rng.normal(size=(affect, 2)).astype(np.float32),
        "irony": rng.integers(2, size=irony).astype(np.int32),
    }
    examples = {
        name: Examples([f"{name} {i}" for i in range(len(actual))], actual)
        for name, actual in labels.items()
    }
    types = rng.integers(0, 3, len(ids)).astype(np.int32)
    actual = tokens.Tokens(ids, offsets, types)
    return batches.build_corpus(BENCHMARK, examples, actual), labels


@pytest.fixture(scope="module")
def corpus():
    return make_corpus()[0]


def text_of(corpus, example):
    start, end = corpus.tokens.offsets[example : example + 2]
    ids, types = corpus.tokens.ids[start:end], corpus.tokens.types[start:end]
    return ids.tolist(), types.tolist()


# ---- corpus


def test_corpus_lays_tasks_end_to_end():
    corpus, labels = make_corpus()
    assert corpus.sizes == (70, 30, 25)
    assert corpus.tasks.dtype == np.int32
    assert corpus.tasks.tolist() == [0] * 70 + [1] * 30 + [2] * 25
    assert corpus.targets.shape == (125, 7)
    assert corpus.targets.dtype == np.float32
    for i, label in enumerate(labels["topic"]):
        expected = [float(label == c) for c in range(3)] + [0] * 4
        assert corpus.targets[i].tolist() == expected
    for i, values in enumerate(labels["affect"], 70):
        assert corpus.targets[i].tolist() == [0, 0, 0, *values.tolist(), 0, 0]
    for i, label in enumerate(labels["irony"], 100):
        expected = [0] * 5 + [float(label == c) for c in range(2)]
        assert corpus.targets[i].tolist() == expected


# ---- plans


@pytest.mark.parametrize("batch_size", [1, 8, 50, 500])
def test_epoch_shows_each_example_once_in_batches_of_one_task(batch_size):
    plan = plans.plan_epoch(SIZES, batch_size, seed=3, epoch=1)
    assert plan.dtype == np.int64
    assert plan.shape == (sum(-(-n // batch_size) for n in SIZES), batch_size)
    assert sorted(plan[plan >= 0].tolist()) == list(range(sum(SIZES)))
    num_short = Counter()
    for examples in plan:
        valid = examples >= 0
        assert np.all(examples[~valid] == -1)
        assert valid[: valid.sum()].all(), "an empty place before an example"
        (task,) = set(TASK_OF[examples[valid]].tolist())
        num_short[task] += not valid.all()
    for task, size in enumerate(SIZES):
        assert num_short[task] == (size % batch_size > 0)


@pytest.mark.parametrize("sampling", ["per_task", "joint"])
def test_plan_is_a_function_of_seed_and_epoch(sampling):
    def plan(seed, epoch):
        return plans.plan_epoch(SIZES, 8, seed=seed, epoch=epoch, sampling=sampling)

    keys = [(0, 0), (0, 1), (1, 0), (1, 1), (0, 2)]
    for key in keys:
        np.testing.assert_array_equal(plan(*key), plan(*key))
    for one, other in itertools.combinations(keys, 2):
        assert not np.array_equal(plan(*one), plan(*other)), (one, other)


def test_epoch_mixes_examples_and_the_order_of_tasks():
    first = Counter()
    together = 0
    for seed in range(400):
        plan = plans.plan_epoch((40, 20), 10, seed=seed, epoch=0)
        first[int(plan[0, 0] >= 40)] += 1
        together += any(0 in row and 1 in row for row in plan.tolist())
    # 2 of 6 batches are of the second task; two examples share a batch by 9/39. Four
    # standard deviations.
    assert abs(first[1] / 400 - 2 / 6) < 4 * np.sqrt(2 / 9 / 400)
    assert abs(together / 400 - 9 / 39) < 4 * np.sqrt(9 / 39 * 30 / 39 / 400)


@pytest.mark.parametrize("batch_size", [4, 8, 13, 30])
def test_joint_batches_hold_an_equal_share_of_each_task(batch_size):
    plan = plans.plan_epoch(SIZES, batch_size, seed=0, epoch=5, sampling="joint")
    assert plan.shape == (-(-sum(SIZES) // batch_size), batch_size)
    assert plan.min() >= 0
    shares = {
        tuple(np.bincount(TASK_OF[examples], minlength=4).tolist()) for examples in plan
    }
    (share,) = shares
    assert max(share) - min(share) <= 1
    assert sum(share) == batch_size


def test_joint_sampling_reshuffles_tasks_that_run_out():
    plan = plans.plan_epoch(SIZES, 8, seed=0, epoch=0, sampling="joint")
    for task, size in enumerate(SIZES):
        visited = plan[TASK_OF[plan] == task] - STARTS[task]
        assert len(visited) == 2 * len(plan)
        rounds = [visited[i : i + size].tolist() for i in range(0, len(visited), size)]
        for one in rounds:
            assert len(set(one)) == len(one)
        counts = np.bincount(visited, minlength=size)
        assert set(counts.tolist()) <= {len(visited) // size, -(-len(visited) // size)}
        for one, other in itertools.pairwise(rounds):
            assert one != other[: len(one)]


def test_wrong_plans_are_refused():
    with pytest.raises(ValueError, match="per_task or joint; found 'both'"):
        plans.plan_epoch(SIZES, 8, seed=0, epoch=0, sampling="both")
    with pytest.raises(ValueError, match="`batch_size` must be at least 4"):
        plans.plan_epoch(SIZES, 3, seed=0, epoch=0, sampling="joint")


def test_evaluation_visits_each_example_once_task_by_task():
    plan = plans.plan_evaluation((5, 2, 4), 4)
    assert (plan == -1).tolist() == [
        [False] * 4,
        [False, True, True, True],
        [False, False, True, True],
        [False] * 4,
    ]
    tasks = plan[:2], plan[2:3], plan[3:]
    visited = [sorted(rows[rows >= 0].tolist()) for rows in tasks]
    assert visited == [[0, 1, 2, 3, 4], [5, 6], [7, 8, 9, 10]]


def test_batches_of_an_evaluation_have_the_labels_of_a_sorted_file():
    """Each of 32 has about as many of both; the order of a task is always the same."""
    plan = plans.plan_evaluation((3, 320), 32)[1:] - 3
    assert plan.tolist() == plans.plan_evaluation((320,), 32).tolist()
    shares = np.mean(plan >= 160, axis=1)
    assert len(shares) == 10
    assert ((shares > 0.2) & (shares < 0.8)).all()


# ---- partners


def test_partners_permute_within_each_task():
    tasks = np.array([2, 0, -1, 0, 2, 1, 2, -1, 0, 2])
    for seed in range(50):
        partners = batches.draw_partners(tasks, np.random.default_rng(seed))
        assert partners.dtype == np.int32
        assert sorted(partners.tolist()) == list(range(10))
        np.testing.assert_array_equal(tasks[partners], tasks)
        assert partners[2] == 2
        assert partners[5] == 5
        assert partners[7] == 7


def test_partners_are_uniform_over_the_permutations():
    rng = np.random.default_rng(0)
    tasks = np.array([1, 0, 1, 1, 0])
    draws = 6000
    actual = Counter(
        tuple(batches.draw_partners(tasks, rng).tolist()) for _ in range(draws)
    )
    # 6 permutations of the three times 2 of the two; 31.26 is the 0.1 % point of chi² with
    # 11 degrees of freedom.
    assert len(actual) == 12
    expected = draws / 12
    assert sum((n - expected) ** 2 / expected for n in actual.values()) < 31.26


# ---- packing


def unpack(shard, slot):
    """Ids and types of the text in `slot` of one device, read from its first token."""
    row_length = shard.tokens.shape[1]
    row, column = divmod(int(shard.first_tokens[slot]), row_length)
    segment = shard.segments[row, column]
    assert segment > 0
    assert column == 0 or shard.segments[row, column - 1] == segment - 1
    end = column
    while end < row_length and shard.segments[row, end] == segment:
        assert shard.positions[row, end] == end - column
        end += 1
    own = slice(column, end)
    return shard.tokens[row, own].tolist(), shard.types[row, own].tolist()


def check_rows(shard, num_texts):
    """Segments count 1, 2, ... from the left, each one run; the rest is zero."""
    actual = 0
    for tokens_, segments, positions, types in zip(
        shard.tokens, shard.segments, shard.positions, shard.types, strict=True
    ):
        runs = [key for key, _ in itertools.groupby(segments.tolist())]
        texts = [key for key in runs if key]
        assert texts == list(range(1, len(texts) + 1))
        assert runs in (texts, [*texts, 0])
        assert not tokens_[segments == 0].any()
        assert not positions[segments == 0].any()
        assert not types[segments == 0].any()
        actual += len(texts)
    assert actual == num_texts


def only_part(batch):
    """A batch of one part and one micro-batch without their axes: [D, R, S], [D, B]."""
    rows = (array[:, 0, 0] for array in batch[:5])
    return type(batch)(*rows, *(array[:, 0] for array in batch[5:]))


def check_batch(batch, examples, corpus, num_devices):
    """`batch` of all devices holds the planned `examples` and nothing else."""
    batch = only_part(batch)
    assert [a.shape[0] for a in batch] == [num_devices] * len(batch)
    integers = batch[:5]
    integers += (batch.tasks, batch.partners)
    assert {a.dtype for a in integers} == {np.dtype(np.int32)}
    assert batch.where.dtype == bool
    assert batch.targets.dtype == np.float32
    for position, example in enumerate(examples.tolist()):
        slot, device = divmod(position, num_devices)
        shard = type(batch)(*(a[device] for a in batch))
        assert shard.where[slot] == (example >= 0)
        if example >= 0:
            assert unpack(shard, slot) == text_of(corpus, example)
            assert shard.tasks[slot] == corpus.tasks[example]
            np.testing.assert_array_equal(shard.targets[slot], corpus.targets[example])
        else:
            assert shard.first_tokens[slot] == 0
            assert shard.tasks[slot] == 0
            assert not shard.targets[slot].any()
            assert shard.partners[slot] == position
    for device in range(num_devices):
        shard = type(batch)(*(a[device] for a in batch))
        check_rows(shard, int(shard.where.sum()))
    partners = batch.partners.T.reshape(-1)
    assert sorted(partners.tolist()) == list(range(len(examples)))
    tasks = np.where(examples >= 0, corpus.tasks[examples], -1)
    np.testing.assert_array_equal(tasks[partners], tasks)


@pytest.mark.parametrize("sampling", ["per_task", "joint"])
@pytest.mark.parametrize("num_devices", [1, 2, 8])
def test_packed_batches_hold_the_planned_texts(corpus, num_devices, sampling):
    plan = plans.plan_epoch(corpus.sizes, 16, seed=1, epoch=0, sampling=sampling)
    needed = shapes.needed(corpus, plan, num_devices)
    two = shapes.choose(needed, program_cost=0, max_shapes=2)
    everywhere = tuple(range(num_devices))
    lengths = corpus.tokens.lengths
    for chosen in ((), two):
        batcher = batches.Batcher(
            corpus, chosen, num_devices=num_devices, local_devices=everywhere
        )
        for examples, need, batch in zip(
            plan, needed, batcher.batches(plan), strict=True
        ):
            check_batch(batch, examples, corpus, num_devices)
            shares = batches.device_shares(lengths, examples, num_devices)
            expected = packing.fit(shares, chosen) if chosen else need[0]
            assert batch.tokens.shape[3:] == expected


@pytest.mark.parametrize("num_devices", [1, 2])
@pytest.mark.parametrize("micro_batches", [2, 4])
def test_micro_batches_are_packed_as_devices_are(corpus, num_devices, micro_batches):
    """Part m of device d has the rows of device m * D + d, if each part had a device."""
    plan = plans.plan_epoch(corpus.sizes, 16, seed=1, epoch=0)
    num_shares = num_devices * micro_batches
    needed = shapes.needed(corpus, plan, num_shares)
    chosen = shapes.choose(needed, program_cost=0)

    def packed(devices, parts):
        batcher = batches.Batcher(
            corpus,
            chosen,
            num_devices=devices,
            local_devices=range(devices),
            micro_batches=parts,
        )
        return batcher.batches(plan)

    for split, spread, whole in zip(
        packed(num_devices, micro_batches),
        packed(num_shares, 1),
        packed(num_devices, 1),
        strict=True,
    ):
        assert split.first_tokens.shape == (
            num_devices,
            1,
            micro_batches,
            16 // num_shares,
        )
        for name in ("tokens", "segments", "positions", "types", "first_tokens"):
            rows, expected = getattr(split, name), getattr(spread, name)
            rows = rows[:, 0].swapaxes(0, 1).reshape(expected.shape)
            np.testing.assert_array_equal(rows, expected)
        for name in ("where", "tasks", "targets", "partners"):
            np.testing.assert_array_equal(getattr(split, name), getattr(whole, name))


def test_the_texts_of_a_batch_split_by_task():
    examples = np.array([9, 4, -1, 7, 2, 5])
    tasks = np.array([3, 0, 0, 3, 0, 1])
    actual = batches.split_by_task(examples, tasks, 3)
    assert actual.tolist() == [[4, 2, -1], [5, -1, -1], [9, 7, -1]]
    with pytest.raises(ValueError, match="at least 2"):
        batches.split_by_task(examples, tasks, 1)


@pytest.mark.parametrize("num_devices", [1, 2])
@pytest.mark.parametrize("sampling", ["per_task", "joint"])
def test_tasks_apart_are_packed_as_separate_batches(corpus, sampling, num_devices):
    plan = plans.plan_epoch(corpus.sizes, 16, seed=1, epoch=0, sampling=sampling)
    part_size = {"per_task": 16, "joint": 6}[sampling]
    needed = shapes.needed(corpus, plan, num_devices, part_size)
    everywhere = tuple(range(num_devices))
    batcher = batches.Batcher(
        corpus, num_devices=num_devices, local_devices=everywhere, part_size=part_size
    )
    for examples, need, batch in zip(plan, needed, batcher.batches(plan), strict=True):
        parts = batches.split_by_task(examples, corpus.tasks[examples], part_size)
        assert len(parts) == (1 if sampling == "per_task" else 3)
        assert batch.tokens.shape[:3] == (num_devices, len(parts), 1)
        assert batch.tokens.shape[3:] == need[0]
        for index, own in enumerate(parts):
            part = type(batch)(*(a[:, index : index + 1] for a in batch))
            # Also at empty places, where a batch of mixed tasks has 0.
            task = corpus.tasks[own[0]]
            assert np.all(part.tasks == task)
            tasks = np.where(part.where, part.tasks, 0)
            check_batch(part._replace(tasks=tasks), own, corpus, num_devices)


def test_positions_of_one_small_batch():
    offsets = np.array([0, 2, 5, 6])
    actual = tokens.Tokens(np.array([7, 8, 4, 5, 6, 9], np.int32), offsets)
    targets = np.eye(3, dtype=np.float32)
    corpus = batches.Corpus(actual, np.zeros(3, np.int32), targets, (3,))
    batcher = batches.Batcher(corpus, [Shape(2, 64)])
    batch = batcher.pack(np.array([2, -1, 0, 1]), np.random.default_rng(0))
    assert batch.tokens.shape == (1, 1, 1, 2, 64)
    batch = only_part(batch)
    assert batch.tokens[0, 0, :8].tolist() == [4, 5, 6, 7, 8, 9, 0, 0]
    assert batch.segments[0, 0, :8].tolist() == [1, 1, 1, 2, 2, 3, 0, 0]
    assert batch.positions[0, 0, :8].tolist() == [0, 1, 2, 0, 1, 0, 0, 0]
    assert not batch.tokens[0, 1].any()
    assert batch.first_tokens.tolist() == [[5, 0, 3, 0]]
    assert batch.where.tolist() == [[True, False, True, True]]
    assert batch.targets[0].tolist() == [[0, 0, 1], [0, 0, 0], [1, 0, 0], [0, 1, 0]]


def test_processes_together_hold_what_one_process_holds(corpus):
    plan = plans.plan_epoch(corpus.sizes, 16, seed=1, epoch=2)
    chosen = shapes.choose(shapes.needed(corpus, plan, 8), program_cost=0)

    def packed(*devices):
        batcher = batches.Batcher(
            corpus, chosen, num_devices=8, local_devices=devices, seed=4
        )
        return list(batcher.batches(plan, epoch=2))

    whole = packed(*range(8))
    for part in ((0, 1, 2, 3), (4, 5, 6, 7), (5,), (6, 1)):
        for batch, expected in zip(packed(*part), whole, strict=True):
            for actual, wanted in zip(batch, expected, strict=True):
                np.testing.assert_array_equal(actual, wanted[list(part)])


def test_devices_without_text_hold_padding_of_the_same_shape(corpus):
    examples = np.full(16, -1)
    examples[:3] = [4, 5, 6]
    batcher = batches.Batcher(corpus, num_devices=8, local_devices=tuple(range(8)))
    batch = batcher.pack(examples, np.random.default_rng(0))
    check_batch(batch, examples, corpus, 8)
    batch = only_part(batch)
    assert batch.where.sum(axis=1).tolist() == [1, 1, 1, 0, 0, 0, 0, 0]
    assert not batch.segments[3:].any()


def test_batches_continue_at_any_batch(corpus):
    plan = plans.plan_epoch(corpus.sizes, 16, seed=0, epoch=3)

    def packed(start, epoch=3, seed=7):
        batcher = batches.Batcher(corpus, seed=seed)
        return list(batcher.batches(plan, epoch=epoch, start=start))

    whole = packed(0)
    assert len(whole) == len(plan)
    for batch, expected in zip(packed(4), whole[4:], strict=True):
        for actual, wanted in zip(batch, expected, strict=True):
            np.testing.assert_array_equal(actual, wanted)
    partners = [
        np.concatenate([b.partners[0] for b in run])
        for run in (whole, packed(0, epoch=4), packed(0, seed=8))
    ]
    for one, other in itertools.combinations(partners, 2):
        assert not np.array_equal(one, other)
    twice = batches.Batcher(corpus).batches(np.stack([plan[0], plan[0]]))
    one, other = (batch.partners for batch in twice)
    assert not np.array_equal(one, other), "two batches draw the same permutation"


def test_tokens_without_types_have_the_type_0(corpus):
    plan = plans.plan_evaluation(corpus.sizes, 16)
    bare = corpus._replace(tokens=corpus.tokens._replace(types=None))
    with_types = batches.Batcher(corpus).batches(plan)
    without = batches.Batcher(bare).batches(plan)
    for batch, other in zip(without, with_types, strict=True):
        assert other.types.any()
        expected = other._replace(types=np.zeros_like(other.types))
        for actual, wanted in zip(batch, expected, strict=True):
            np.testing.assert_array_equal(actual, wanted)
            assert actual.dtype == wanted.dtype


def test_tokens_may_be_mapped_from_disk(corpus, tmp_path):
    paths = [tmp_path / f"{name}.npy" for name in tokens.Tokens._fields]
    for path, array in zip(paths, corpus.tokens, strict=True):
        np.save(path, array)
    mapped = tokens.Tokens(*(np.load(path, mmap_mode="r") for path in paths))
    plan = plans.plan_evaluation(corpus.sizes, 16)
    in_memory = batches.Batcher(corpus).batches(plan)
    on_disk = batches.Batcher(corpus._replace(tokens=mapped)).batches(plan)
    for batch, expected in zip(on_disk, in_memory, strict=True):
        for actual, wanted in zip(batch, expected, strict=True):
            assert type(actual) is np.ndarray
            np.testing.assert_array_equal(actual, wanted)


def test_texts_are_dealt_to_the_devices_in_turn():
    lengths = np.array([10, 20, 30, 40, 50])
    examples = np.array([3, 1, 0, -1, 4, -1])
    actual = batches.device_shares(lengths, examples, 4)
    assert [share.tolist() for share in actual] == [[40, 50], [20], [10], []]


@pytest.mark.parametrize(
    ("sampling", "part_size", "micro_batches"),
    [
        ("per_task", None, 1),
        ("per_task", None, 2),
        ("per_task", 16, 1),
        ("joint", 6, 1),
    ],
)
def test_blank_batches_are_like_those_of_the_plan(
    corpus, sampling, part_size, micro_batches
):
    plan = plans.plan_epoch(corpus.sizes, 16, seed=1, epoch=0, sampling=sampling)
    needed = shapes.needed(corpus, plan, 2 * micro_batches, part_size)
    batcher = batches.Batcher(
        corpus,
        shapes.choose(needed, program_cost=0),
        num_devices=2,
        local_devices=(0, 1),
        micro_batches=micro_batches,
        part_size=part_size,
    )

    def forms(items):
        return {tuple((a.shape, a.dtype) for a in batch) for batch in items}

    blanks = batcher.blanks(plan[0])
    assert len(blanks) == len(batcher.shapes)
    assert not any(batch.where.any() or batch.segments.any() for batch in blanks)
    assert forms(batcher.batches(plan)) <= forms(blanks)


@pytest.mark.slow
@pytest.mark.shared
def test_nine_of_ten_tokens_of_real_tweets_are_real(shared_data, minilm):
    examples = {
        name: Examples(splits["train"].texts[::4], splits["train"].labels[::4])
        for name, splits in sources.load_benchmark(TWEETEVAL, shared_data).items()
    }
    texts = [t for name in TWEETEVAL.task_names for t in examples[name].texts]
    actual = tokens.encode(tokens.load_tokenizer(minilm), texts, 256)
    corpus = batches.build_corpus(TWEETEVAL, examples, actual)
    plan = plans.plan_epoch(corpus.sizes, 128, seed=0, epoch=0)
    needed = shapes.needed(corpus, plan, 1)
    eight = shapes.choose(needed, program_cost=0, max_shapes=8)
    batcher = batches.Batcher(corpus, eight)
    assert len(batcher.shapes) <= 8
    real, packed, padded = np.zeros((3, len(corpus.sizes)))
    for epoch in range(2):
        plan = plans.plan_epoch(corpus.sizes, 128, seed=0, epoch=epoch)
        for examples_, batch in zip(plan, batcher.batches(plan), strict=True):
            task = corpus.tasks[examples_[0]]
            lengths = actual.lengths[examples_[examples_ >= 0]]
            assert np.count_nonzero(batch.segments) == lengths.sum()
            real[task] += lengths.sum()
            packed[task] += batch.segments.size
            padded[task] += len(lengths) * lengths.max()
    for name, *figures in zip(
        TWEETEVAL.task_names, real / packed, real / padded, strict=True
    ):
        print(name, *(f"{figure:.3f}" for figure in figures))
    print(f"all: {real.sum() / packed.sum():.3f}; ", end="")
    print(f"padded to the longest: {real.sum() / padded.sum():.3f}")
    assert real.sum() / packed.sum() >= 0.90


# ---- prefetch


def prefetch_threads():
    return [t for t in threading.enumerate() if t.name.startswith("prefetch")]


class Maker:
    """An endless series that counts the items taken from it."""

    def __init__(self, fails_at=None):
        self.made = 0
        self.fails_at = fails_at
        self.threads = set()

    def __iter__(self):
        while True:
            self.threads.add(threading.current_thread().name)
            if self.made == self.fails_at:
                raise ZeroDivisionError(f"item {self.made}")
            self.made += 1
            yield self.made - 1

    def wait_for(self, count):
        deadline = time.monotonic() + 10
        while self.made < count and time.monotonic() < deadline:
            time.sleep(0.001)
        # Time to take one too many.
        time.sleep(0.01)
        return self.made


@pytest.mark.parametrize("depth", [1, 2, 5])
@pytest.mark.parametrize("size", [0, 1, 2, 50])
def test_prefetch_keeps_the_order(size, depth):
    assert list(batches.prefetch(range(size), depth)) == list(range(size))
    assert not prefetch_threads()


@pytest.mark.parametrize("depth", [1, 3])
def test_prefetch_works_ahead_but_not_further_than_its_depth(depth):
    maker = Maker()
    items = batches.prefetch(maker, depth)
    assert maker.made == 0
    for received in range(1, 5):
        assert next(items) == received - 1
        assert maker.wait_for(received + depth) == received + depth
    assert all(name.startswith("prefetch") for name in maker.threads)
    items.close()
    assert maker.made <= 4 + depth + 1


@pytest.mark.parametrize("fails_at", [0, 1, 4])
def test_prefetch_raises_where_the_maker_failed(fails_at):
    items = batches.prefetch(Maker(fails_at), depth=2)
    assert list(itertools.islice(items, fails_at)) == list(range(fails_at))
    with pytest.raises(ZeroDivisionError, match=f"item {fails_at}"):
        next(items)
    assert next(items, None) is None
    assert not prefetch_threads()


def test_prefetch_left_early_leaves_no_thread():
    items = batches.prefetch(Maker())
    assert next(items) == 0
    assert len(prefetch_threads()) == 1
    items.close()
    assert not prefetch_threads()

    def consume():
        for item in batches.prefetch(Maker()):
            if item == 3:
                raise KeyError(item)

    with pytest.raises(KeyError):
        consume()
    deadline = time.monotonic() + 10
    while prefetch_threads() and time.monotonic() < deadline:
        time.sleep(0.001)
    assert not prefetch_threads()
