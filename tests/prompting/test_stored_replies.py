"""Stored replies: their keys, lines that were cut off, and damaged ones."""

import pytest
from messages import assert_mentions

from mtra_jax.errors import InputError
from mtra_jax.prompting import asking, stored_replies
from mtra_jax.prompting.answers import Reply

SETTINGS = {"model": "m", "temperature": 0, "max_tokens": 8}


class Model:
    """Replies with the prompt in capitals; fails at the prompt "stop"."""

    name, settings = "m", SETTINGS

    def __init__(self):
        self.asked = []

    def replies(self, prompts):
        for place in reversed(range(len(prompts))):
            (text,) = prompts[place]
            if text == "stop":
                raise RuntimeError
            self.asked.append(text)
            yield place, Reply(text.upper(), text == "no")


def ask(path, *prompts):
    model = Model()
    with stored_replies.opened(path) as store:
        replies = asking.ask(model, store, [(text,) for text in prompts])
    return [reply.text for reply in replies], model.asked


def test_replies_are_in_the_order_of_the_prompts_and_asked_once(tmp_path):
    path = tmp_path / "run" / "answers.jsonl"
    assert ask(path, "a", "b", "a", "é\u2028") == (
        ["A", "B", "A", "É\u2028"],
        ["é\u2028", "b", "a"],
    )
    assert ask(path, "b", "c", "é\u2028") == (["B", "C", "É\u2028"], ["c"])
    assert len(path.read_text().splitlines()) == 4


def test_a_failure_leaves_the_replies_before_it(tmp_path):
    path = tmp_path / "answers.jsonl"
    with pytest.raises(RuntimeError):
        ask(path, "stop", "a", "b")
    assert ask(path, "a", "b", "c") == (["A", "B", "C"], ["c"])


def test_an_error_of_the_caller_is_not_one_of_the_file(tmp_path):
    """Such as weights that cannot be read once the first reply is missing."""
    missing = OSError(5, "Input/output error")
    with (
        pytest.raises(OSError, match="Input") as error,
        stored_replies.opened(tmp_path / "a.jsonl"),
    ):
        raise missing
    assert error.value is missing
    assert "a.jsonl" not in str(error.value)


def test_a_line_that_was_cut_off_is_dropped_and_asked_again(tmp_path):
    path = tmp_path / "answers.jsonl"
    ask(path, "b", "a")
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    key = stored_replies.key(SETTINGS, ("b",))
    assert stored_replies.read(path).get(key) is None
    assert path.read_bytes() == whole[:-10]
    assert ask(path, "a", "b") == (["A", "B"], ["b"])
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "line",
    ["x", "[]", '{"key": "k", "text": 1, "is_refused": false}', '{"key": "k"}', ""],
)
def test_a_damaged_line_is_named(tmp_path, line):
    path = tmp_path / "answers.jsonl"
    ask(path, "a")
    path.write_text(f"{path.read_text()}{line}\n")
    with pytest.raises(InputError) as error:
        ask(path, "a")
    assert_mentions(error.value, f"{path}:2", "damaged")


def test_a_key_depends_on_the_model_its_settings_and_the_prompt():
    keys = [
        stored_replies.key(settings, prompt)
        for settings, prompt in [
            (SETTINGS, ("a",)),
            (SETTINGS, ("b",)),
            (SETTINGS, ("a", "b", "a")),
            ({**SETTINGS, "model": "n"}, ("a",)),
            ({**SETTINGS, "max_tokens": 9}, ("a",)),
        ]
    ]
    assert len(set(keys)) == 5
    assert stored_replies.key(dict(reversed(SETTINGS.items())), ("a",)) == keys[0]
