"""A configuration -> tasks, examples, encoder and tokens of a run."""

from collections.abc import Mapping
from typing import NamedTuple

from ml_collections import ConfigDict

from mtra_jax import config as configs
from mtra_jax import metrics, paths
from mtra_jax.data import benchmarks
from mtra_jax.data.packed.batches import Corpus
from mtra_jax.data.splits import fingerprints, targets
from mtra_jax.data.splits.examples import Data, Splits
from mtra_jax.reports.progress import text_lengths
from mtra_jax.runs.directory import inputs_json
from mtra_jax.tasks import Benchmark
from mtra_jax.train import backbone as backbones
from mtra_jax.train import starting
from mtra_jax.train.backbone import Backbone


class Inputs(NamedTuple):
    """The inputs of a run: its tasks, their examples and tokens, and an encoder.

    `corpora`: the tokens of each split. `fingerprints`: hashes of the data and the encoder.
    `cut`: a line about training texts that were cut, see `text_lengths.line`.
    """

    benchmark: Benchmark
    examples: Splits
    backbone: Backbone
    corpora: Mapping[str, Corpus]
    fingerprints: inputs_json.Fingerprints
    cut: str


def read(
    config: ConfigDict,
    data: Data,
    backbone: Backbone | None = None,
    given: starting.Start | None = None,
) -> Inputs:
    """Reads the encoder and tokenises the examples that a run of `config` uses.

    `backbone` replaces the configured one. `given`: the run at `config.warm_start`.

    Raises:
      InputError: the encoder is missing, or the data do not fit it.
    """
    examples = examples_of(config, data)
    benchmark = _resolved(config, data.benchmark, examples)
    if backbone is None:
        texts = benchmarks.train_texts(benchmark, examples)
        backbone = load_backbone(config, texts, given)
    backbones.check_pairs(backbone, benchmark, config.backbone.path)
    corpora = benchmarks.build_corpora(
        benchmark,
        examples,
        backbone.tokenizer,
        max_length=config.data.max_length,
        cache_dir=paths.cache_directory(config.data.cache_dir),
    )
    made_from = inputs_json.Fingerprints(
        fingerprints.of_splits(data.splits), fingerprints_of(config, backbone, given)
    )
    train = corpora["train"]
    cut = text_lengths.line(
        benchmark.task_names, train.sizes, train.tokens.lengths, config.data.max_length
    )
    return Inputs(benchmark, examples, backbone, corpora, made_from, cut)


def load_data(config: ConfigDict) -> Data:
    """The configured tasks with their examples, see `benchmarks.load`."""
    data = benchmarks.load(
        config.benchmark,
        configs.task_names(config),
        data_dir=config.data.dir,
        task_path=config.data.tasks,
    )
    metrics.check_metrics(data.benchmark.tasks)
    return data


def resolved_tasks(config: ConfigDict, data: Data) -> Benchmark:
    """The tasks of a run of `config`, with the fields that depend on the data."""
    examples = examples_of(config, data)
    return _resolved(config, data.benchmark, examples)


def examples_of(config: ConfigDict, data: Data) -> Splits:
    """The examples that a run of `config` uses."""
    return benchmarks.thin(
        data.benchmark,
        data.splits,
        fraction=config.data.fraction,
        label_noise=config.data.label_noise,
        limit=config.data.limit,
        seed=config.seed,
    )


def load_backbone(
    config: ConfigDict, train_texts: list[str], given: starting.Start | None = None
) -> Backbone:
    """The configured encoder, see `backbone.load`, or that of the `given` run."""
    if given is not None:
        backbones.check(
            given.backbone, train_texts, config.data.max_length, given.source
        )
        return given.backbone
    values = config.backbone
    sizes = backbones.Sizes(**{name: values[name] for name in backbones.Sizes._fields})
    return backbones.load(
        values.path,
        sizes,
        train_texts,
        max_length=config.data.max_length,
        seed=config.seed,
    )


def fingerprints_of(
    config: ConfigDict, backbone: Backbone, given: starting.Start | None = None
) -> dict[str, str]:
    """`Fingerprints.encoder` of the first weights, without those of a new encoder.

    A `given` run counts with all of its parameters.
    """
    weights = backbone.params if config.backbone.path else {}
    return inputs_json.of_encoder(
        backbone.config,
        backbone.tokenizer,
        weights if given is None else given.params,
    )


def _resolved(config: ConfigDict, benchmark: Benchmark, examples: Splits) -> Benchmark:
    """The benchmark with the fields that depend on the data, see `targets.resolved`."""
    train_examples = {task: parts["train"] for task, parts in examples.items()}
    return targets.resolved(
        benchmark,
        train_examples,
        standardize=config.data.standardize,
        class_weights=config.class_weights,
        label_smoothing=config.label_smoothing,
    )
