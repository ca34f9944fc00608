"""A server's answers: labels, refusals, full servers, faults, bodies that cannot be read."""

import json
import threading
import time

import pytest
from messages import assert_mentions
from served_model import chat, serving

from mtra_jax.errors import InputError, RunError
from mtra_jax.prompting import endpoint
from mtra_jax.prompting.answers import Reply
from mtra_jax.prompting.endpoint import Endpoint


def replies(served, prompts, **options):
    options = {"pause": 0.001, "tries": 3, **options}
    model = Endpoint(served.url, "toy", **options)
    return dict(model.replies([(text,) for text in prompts]))


def test_every_prompt_has_its_reply_and_no_more_than_some_wait_at_a_time():
    places, numbers = threading.Semaphore(3), []
    barrier = threading.Barrier(3, timeout=10)

    def answer(prompt, _):
        numbers.append(places.acquire(blocking=False))
        barrier.wait()
        places.release()
        return chat(prompt[::-1])

    prompts = [f"prompt {i}" for i in range(9)]
    with serving(answer) as served:
        result = replies(served, prompts, concurrency=3, max_tokens=5, key="secret")
    assert result == {i: Reply(prompt[::-1]) for i, prompt in enumerate(prompts)}
    assert numbers == [True] * 9
    headers, body = served.requests[0]
    assert headers["Authorization"] == "Bearer secret"
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("toy", 0, 5)


def test_a_demonstration_is_a_question_and_its_answer():
    with serving(lambda prompt, _: chat("a")) as served:
        model = Endpoint(served.url, "toy")
        list(model.replies([("one", "first", "two")]))
    assert served.requests[0][1]["messages"] == [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "first"},
        {"role": "user", "content": "two"},
    ]


def test_no_key_is_sent_without_one():
    with serving(lambda prompt, _: chat("a")) as served:
        replies(served, ["x"])
    assert "Authorization" not in served.requests[0][0]


FILTERED = json.dumps({"error": {"code": "content_filter", "message": "filtered"}})
STOPPED = json.dumps(
    {"choices": [{"message": {"content": "joy"}, "finish_reason": "content_filter"}]}
)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (chat("joy"), Reply("joy")),
        (json.dumps({**json.loads(chat("joy")), "error": None}), Reply("joy")),
        (chat(None, refusal="no"), Reply("no", is_refused=True)),
        (chat(None), Reply("")),
        (STOPPED, Reply("joy", is_refused=True)),
        ((400, {}, FILTERED), Reply("", is_refused=True)),
    ],
)
def test_refusals_of_a_server_are_replies(answer, expected):
    with serving(lambda prompt, _: answer) as served:
        assert replies(served, ["x"]) == {0: expected}
    assert len(served.requests) == 1


@pytest.mark.parametrize(
    "fault",
    [
        (429, {}, "full"),
        (429, {"Retry-After": "0"}, ""),
        (503, {}, "<html>"),
        (200, {}, ""),
        (200, {}, '{"choices": [{"mess'),
        (200, {}, '{"error": {"code": 502, "message": "upstream"}}'),
        (200, {}, '{"choices": []}'),
        (200, {}, '{"choices": [{"message": {"content": 3}}]}'),
    ],
)
def test_faults_that_pass_are_tried_again_up_to_a_number_of_times(fault):
    with serving(lambda prompt, number: fault if number < 3 else chat("a")) as served:
        assert replies(served, ["x"]) == {0: Reply("a")}
        assert len(served.requests) == 3
        with pytest.raises(RunError) as error:
            replies(served, ["y"], tries=2)
    assert_mentions(error.value, served.url, "try 2 of 2", "the same command continues")
    assert len(served.requests) == 5


def test_pauses_double_or_are_those_that_the_server_asks_for(monkeypatch):
    pauses = []
    monkeypatch.setattr(endpoint.random, "random", lambda: 0.0)
    monkeypatch.setattr(
        endpoint.threading.Event,
        "wait",
        lambda self, seconds=None: pauses.append(seconds) and False,
    )
    model = Endpoint("http://h", "toy", tries=5, pause=2.0)
    faults = iter([None, None, 7.0, 900.0])

    def fail(prompt):
        raise endpoint._Again("full", next(faults, None))

    monkeypatch.setattr(Endpoint, "_answer", lambda self, prompt: fail(prompt))
    with pytest.raises(RunError, match="full, at try 5 of 5"):
        model._reply(("x",), threading.Event())
    assert pauses == [2.0, 4.0, 7.0, endpoint.LONGEST_PAUSE]


def test_a_date_to_wait_for_is_a_pause():
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 100))
    assert 90 < endpoint._seconds(date) <= 100
    assert endpoint._seconds("3") == 3.0
    assert endpoint._seconds("soon") is None


@pytest.mark.parametrize(
    ("status", "headers", "parts"),
    [
        (401, {}, ["status 401", "'wrong'", "--key_env NAME"]),
        (404, {}, ["status 404", "toy", "/v1"]),
        (400, {}, ["status 400", "'wrong'"]),
        # Followed, it would send the key and the texts to another place.
        (307, {"Location": "http://127.0.0.1:9/v1"}, ["status 307"]),
    ],
)
def test_a_request_that_cannot_succeed_is_not_repeated(status, headers, parts):
    body = json.dumps({"error": {"message": "wrong"}})
    with serving(lambda prompt, _: (status, headers, body)) as served:
        with pytest.raises(InputError) as error:
            replies(served, ["x", "y"], concurrency=1)
        assert len(served.requests) == 1
    assert_mentions(error.value, served.url, *parts)


PAGE = "<!DOCTYPE html>\n<html><head><title>Welcome</title></head></html>"


@pytest.mark.parametrize(
    ("body", "start"),
    [
        (PAGE, "'<!DOCTYPE html> <html><head><title>Welcome</title></head></html>'"),
        ("not JSON " * 50, "'not JSON not JSON not JSON not JSON"),
        ("[]", "'[]'"),
        ('{"detail": "Not Found"}', """'{"detail": "Not Found"}'"""),
        ('{"error": null}', """'{"error": null}'"""),
        ('data: {"choices": []}', """'data: {"choices": []}'"""),
    ],
)
def test_what_no_such_server_answers_is_refused_at_once(body, start):
    with serving(lambda prompt, _: body) as served:
        with pytest.raises(InputError) as error:
            replies(served, ["x"])
        assert len(served.requests) == 1
    message = str(error.value)
    assert message.startswith(f"{served.url}: status 200: {start}")
    assert message.endswith(
        "; expected a chat completion, from an OpenAI-compatible server, and /v1 in the URL; the same command "
        "continues after the replies until now"
    )
    assert len(message) < 250
    assert "\n" not in message


def test_replies_under_way_are_returned_before_the_error():
    def answer(prompt, _):
        if prompt == "bad":
            return 401, {}, ""
        time.sleep(0.2)
        return chat("good")

    with serving(answer) as served:
        model = Endpoint(served.url, "toy", concurrency=2)
        result = model.replies([("good",), ("bad",)])
        assert next(result) == (0, Reply("good"))
        with pytest.raises(InputError, match="401"):
            next(result)


def test_a_server_that_is_absent_or_silent_is_named():
    model = Endpoint("http://127.0.0.1:9/v1", "toy", tries=2, pause=0.001)
    with pytest.raises(RunError, match="refused, at try 2 of 2"):
        list(model.replies([("x",)]))
    stop = threading.Event()
    with serving(lambda prompt, _: stop.wait(10) and "") as served:
        with pytest.raises(RunError, match="timed out"):
            replies(served, ["x"], tries=1, timeout=0.05)
        stop.set()


def test_a_reply_that_trickles_is_not_waited_for():
    stop = threading.Event()

    def trickle(prompt, _):
        return 200, {}, (" " for _ in range(1000) if not stop.wait(0.02))

    with serving(trickle) as served:
        with pytest.raises(RunError, match=r"no whole answer within 0\.2 s"):
            replies(served, ["x"], tries=1, timeout=0.2)
        stop.set()


def test_a_reply_that_is_cut_off_is_asked_again():
    def answer(prompt, number):
        body = chat("good")
        return 200, {"Content-Length": str(len(body) + (number == 1))}, body

    with serving(answer) as served:
        assert replies(served, ["x"], pause=0.001) == {0: Reply("good")}
        assert len(served.requests) == 2


def test_a_password_in_the_url_is_refused_and_not_shown():
    with pytest.raises(InputError, match="--endpoint: a user name") as error:
        Endpoint("http://user:secret@localhost/v1", "toy")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://a..b/v1",
        f"http://{70 * 'a'}/v1",
        "http://localhost/v1?x=1",
        "http://localhost/v1#f",
        "http://localhost:abc/v1",
        "http://localhost/é",
        "localhost:8000",
        "file:///etc",
        "http://",
        "http://[",
        "http://a b",
    ],
)
def test_an_endpoint_is_an_address(url):
    with pytest.raises(InputError, match="--endpoint"):
        Endpoint(url, "toy")


def test_a_key_stays_secret():
    assert "secret" not in repr(Endpoint("https://h/v1", "toy", "secret"))
    with pytest.raises(InputError) as error:
        Endpoint("https://h/v1", "toy", "secret\n")
    assert "secret" not in str(error.value)
    with pytest.warns(UserWarning, match="without encryption"):
        Endpoint("http://example.org/v1", "toy", "secret")
