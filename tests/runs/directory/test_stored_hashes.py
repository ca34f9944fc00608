"""Hashes that directories of runs hold: a later version must find the same ones.

A run whose hash is another can no longer be loaded. A field that is added to
`EncoderConfig`, or a release of `tokenizers` that writes another `tokenizer.json`, changes
them; stored runs then need a way to be read before this file is changed.
"""

from pathlib import Path

from tokenizers import Tokenizer

from mtra_jax import models
from mtra_jax.data.splits import fingerprints
from mtra_jax.models.encoder import EncoderConfig
from mtra_jax.runs.directory import inputs_json

BUILT_IN = Path(models.__file__).with_name("tiny") / "tokenizer.json"


def test_the_hash_of_a_configuration_stays():
    assert inputs_json.of_configuration(EncoderConfig()) == (
        "a0ccb01806667da8c3461bde70e50274ba75ef4c381e4a2d69e661390224ea1c"
    )


def test_the_hash_of_a_tokenizer_stays():
    assert fingerprints.of_tokenizer(Tokenizer.from_file(str(BUILT_IN))) == (
        "891c33fb849ab7a677a935ff03fdc1b705b24a5fbca6567d5bac481f11c574fa"
    )
