"""A study and a language model -> finished runs of its prompts, for the study's tables."""

from collections.abc import Callable, Sequence
from pathlib import Path

from mtra_jax.data.splits.examples import Data
from mtra_jax.errors import InputError
from mtra_jax.prompting import asking, stored_replies
from mtra_jax.reports.comparisons import comparison, unread
from mtra_jax.runs.studies import experiments, prompted
from mtra_jax.runs.studies.experiments import Study
from mtra_jax.runs.training import inputs, same_inputs
from mtra_jax.runs.trials import run_specs
from mtra_jax.runs.trials.run_specs import Overrides, Trial


def check(study: Study) -> None:
    """Raises InputError if the study's tables have no rows of language models."""
    if not study.experiment.prompts:
        raise InputError(
            f"--model: {study.name} has no rows of language models; expected paradigms"
        )


def run_all(
    study: Study,
    model: asking.Model,
    workdir: Path,
    overrides: Overrides,
    command: str,
    say: Callable[[str], None],
    count: Callable[[int], None] = lambda number: None,
) -> None:
    """Runs what the study's tables ask of `model`, on the examples of the trained runs.

    A run without demonstrations does not depend on the seed, so it has the first alone.
    Replies are stored in `workdir`, and what is stored is not asked again.

    Raises:
      InputError: see `prompted.run`; or the data are missing or invalid.
    """
    current = same_inputs.Current()
    with stored_replies.opened(workdir / stored_replies.FILE) as store:
        for table in study.tables:
            directory = experiments.directory_of(workdir, table)
            trials = {trial.seed: trial for trial in reversed(table.sweep.trials)}
            for number in study.experiment.prompts:
                for seed in study.seeds if number else study.seeds[:1]:
                    config = run_specs.config_of(trials[seed], overrides)
                    data, _ = current.data(config)
                    examples = inputs.examples_of(config, data)
                    own = Data(data.benchmark, examples)
                    choice = prompted.Choice(number, seed)
                    name = prompted.row_name(model.name, choice)
                    place = Trial(name, prompted.METHOD, study.preset, seed).directory
                    prompted.check_place(directory, own)
                    say(f"{name}, seed {seed}")
                    content = prompted.run(
                        model, own, choice, directory / place, store, count
                    )
                    prompted.record(
                        directory,
                        name,
                        choice,
                        own,
                        content,
                        command,
                        table.sweep.baseline,
                    )


def rows(study: Study, entries: Sequence[comparison.Entry]) -> list[str]:
    """The names of the rows of language models among `entries` that the study shows."""
    if not study.experiment.prompts:
        return []
    return list(dict.fromkeys(e.name for e in entries if unread.is_prompted(e.results)))
