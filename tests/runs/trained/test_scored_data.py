"""Which data are scored: what is noted about other data than those of the run."""

from mtra_jax.runs.directory import inputs_json
from mtra_jax.runs.trained import scored_data


def test_a_share_of_other_data_is_noted_and_that_of_the_run_is_not(tmp_path):
    path = tmp_path / "tasks.toml"
    path.write_text('[a]\nfiles = "a.csv"\n[b]\nfiles = "b.csv"\n')
    now = {name: {"test": {"examples": 4, "sha256": name * 64}} for name in "ab"}
    then = inputs_json.Fingerprints(
        {**now, "b": {"test": {"examples": 3, "sha256": ""}}}, {}
    )
    (line,) = scored_data.cut_off(then, now, str(path), "test")
    assert line.startswith(f'{path}:3: b: a share of 0.1 of "b.csv" was split off')
    assert list(scored_data.cut_off(then, now, "", "test")) == []
