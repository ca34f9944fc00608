"""Prompts -> the replies of an OpenAI-compatible server that the user names."""

import dataclasses
import email.utils
import http.client
import json
import random
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from mtra_jax.errors import InputError, RunError, caller_level, refusing, shown
from mtra_jax.prompting.answers import Reply
from mtra_jax.prompting.prompts import Prompt, messages_of

LONGEST_PAUSE = 60.0
"""Seconds between two tries at most, whatever the server asks for."""
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_LARGEST = 1 << 24
"""Bytes of an answer that are read."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirection is an error: it would send texts and key to another place."""

    def redirect_request(self, *arguments: Any, **options: Any) -> None:
        del arguments, options


class _Again(Exception):
    """A failure that may pass. `pause`: the seconds that the server asks to wait."""

    def __init__(self, reason: str, pause: float | None = None) -> None:
        super().__init__(reason)
        self.pause = pause


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """A server with `/chat/completions` below `url`, such as http://localhost:8000/v1.

    `key`: sent as a bearer token; "" for none. `max_tokens`: of a reply. `timeout`:
    seconds of one request. `tries`: of a request that fails by a full server (429), a
    fault of the server (5xx) or the network. `pause`: seconds before the second try,
    doubled before each later one. `concurrency`: requests at a time.
    """

    url: str
    name: str
    key: str = dataclasses.field(default="", repr=False)
    max_tokens: int = 32
    timeout: float = 60.0
    tries: int = 6
    pause: float = 1.0
    concurrency: int = 4

    def __post_init__(self) -> None:
        """Raises InputError if `url` is not an address, or `key` cannot be sent."""
        if "@" in self.url:  # it may hold a password: the URL is not shown
            raise InputError(
                "--endpoint: a user name in the URL; expected http://HOST:PORT/v1, and "
                "--key_env NAME for a key"
            )
        with refusing(f"--endpoint {self.url}"):
            parts = urllib.parse.urlsplit(self.url)
            _ = parts.port  # raises for another text than a number
            (parts.hostname or "").encode("idna")  # raises for a label of no length
        is_base = not parts.query and not parts.fragment
        is_address = parts.scheme in ("http", "https") and parts.hostname and is_base
        has_signs = self.url.isascii() and not any(map(str.isspace, self.url))
        if not (is_address and has_signs):
            raise InputError(
                f"--endpoint {self.url}: expected http://HOST:PORT/v1, or https"
            )
        if not (self.key.isascii() and self.key.isprintable()):
            raise InputError("the key has other characters than printable ASCII ones")
        if self.key and parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            warnings.warn(
                f"--endpoint {self.url}: the key is sent without encryption; https "
                "encrypts it",
                stacklevel=caller_level(),
            )

    @property
    def settings(self) -> Mapping[str, Any]:
        """See `asking.Model`. The same model may move to another address."""
        return {
            "model": self.name,
            "api": "chat",
            "temperature": 0,
            "max_tokens": self.max_tokens,
        }

    def replies(self, prompts: Sequence[Prompt]) -> Iterator[tuple[int, Reply]]:
        """See `asking.Model`.

        Raises:
          InputError: the server refuses the request: no such model, a wrong key.
          RunError: it does not answer, or with something else than a reply.
        """
        stop = threading.Event()
        waiting = iter(enumerate(prompts))
        running: dict[Future[Reply], int] = {}
        failure: BaseException | None = None
        with ThreadPoolExecutor(self.concurrency) as pool:
            try:
                while True:
                    while failure is None and len(running) < self.concurrency:
                        place, prompt = next(waiting, (-1, ()))
                        if place < 0:
                            break
                        running[pool.submit(self._reply, prompt, stop)] = place
                    if not running:
                        break
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        place = running.pop(future)
                        if error := future.exception():
                            # The others under way are waited for: they may be paid.
                            failure = failure or error
                            stop.set()
                        else:
                            yield place, future.result()
            finally:
                stop.set()
        if failure is not None:
            raise failure

    def _reply(self, prompt: Prompt, stop: threading.Event) -> Reply:
        """The reply to `prompt`, after as many tries as needed until `stop` is set."""
        pause = self.pause
        for number in range(1, self.tries + 1):
            try:
                return self._answer(prompt)
            except _Again as again:
                asked = again.pause if again.pause is not None else pause
                # A random share, so that the requests of several threads spread.
                seconds = min(LONGEST_PAUSE, asked * (1 + random.random() / 4))
                if number == self.tries or stop.wait(seconds):
                    raise RunError(
                        f"{self.url}: {again}, at try {number} of {self.tries}; the "
                        "replies until now are stored, the same command continues"
                    ) from again
                pause *= 2
        raise AssertionError("no try")

    def _answer(self, prompt: Prompt) -> Reply:
        """The server's reply to one request, or a refusal by its filter."""
        body = {
            "model": self.name,
            "messages": messages_of(prompt),
            "temperature": 0,
            "max_tokens": self.max_tokens,
        }
        headers = {"Content-Type": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        request = urllib.request.Request(
            f"{self.url.rstrip('/')}/chat/completions",
            json.dumps(body).encode(),
            headers,
        )
        opener = urllib.request.build_opener(_NoRedirects)
        try:
            with opener.open(request, timeout=self.timeout) as answer:
                return self._read(self._body(answer))
        except urllib.error.HTTPError as error:
            return self._refused(error)
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise _Again(str(reason) or type(error).__name__) from error

    def _body(self, answer: http.client.HTTPResponse) -> bytes:
        """The bytes of the reply; each piece, and all of them, within `timeout`."""
        parts: list[bytes] = []
        end = time.monotonic() + self.timeout
        while sum(map(len, parts)) < _LARGEST and (part := answer.read1(1 << 16)):
            parts.append(part)
            if time.monotonic() > end:
                raise TimeoutError(f"no whole answer within {self.timeout:g} s")
        body = b"".join(parts)[:_LARGEST]
        if answer.length and len(body) < _LARGEST:
            raise http.client.IncompleteRead(body, answer.length)
        return body

    def _refused(self, error: urllib.error.HTTPError) -> Reply:
        """The refusal that an error's status stands for, if it is a filter's."""
        try:
            body = error.read(_LARGEST)
        except (OSError, http.client.HTTPException):
            body = b""
        reason = f"status {error.code}: {shown(_message(body))}"
        if error.code in (408, 409, 429) or error.code >= 500:
            raise _Again(reason, _seconds(error.headers.get("Retry-After"))) from error
        if error.code == 400 and b"content_filter" in body:
            return Reply("", is_refused=True)
        hints = {
            401: "; --key_env NAME names the environment variable with the key",
            403: "; --key_env NAME names the environment variable with the key",
            404: f"; expected a server that has the model {self.name}, and /v1 in the URL",
        }
        raise InputError(f"{self.url}: {reason}{hints.get(error.code, '')}") from error

    def _read(self, body: bytes) -> Reply:
        """The reply in the body of an answer.

        Raises:
          InputError: no server of this kind answers so, such as one of web pages.
          _Again: a reply that is empty, cut off or without a text, or a reported error.
        """
        start = shown(" ".join(body[:200].decode(errors="replace").split())[:70])
        try:
            values = json.loads(body)
            (choice, *_) = values["choices"]
            message, end = choice["message"], choice.get("finish_reason")
            text = message.get("content") or message.get("refusal") or ""
            if type(text) is not str:
                raise TypeError(text)
            is_refused = bool(message.get("refusal")) or end == "content_filter"
        except (
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            RecursionError,
        ) as error:
            if _is_foreign(body):
                raise InputError(
                    f"{self.url}: status 200: {start}; expected a chat completion, from "
                    "an OpenAI-compatible server, and /v1 in the URL; the same command "
                    "continues after the replies until now"
                ) from error
            raise _Again(f"{start} is not a chat completion") from error
        return Reply(text, is_refused)


def _is_foreign(body: bytes) -> bool:
    """Whether `body` is neither a chat completion or an error, nor the start of one."""
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        return not (body.strip() + b"{").startswith(b"{")
    if not isinstance(values, dict):
        return True
    return values.get("error") is None and "choices" not in values


def _message(body: bytes) -> str:
    """The message in the body of an error, or its start."""
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return body[:200].decode(errors="replace").strip()


def _seconds(text: str | None) -> float | None:
    """The pause that a header Retry-After asks for: seconds, or a date."""
    if text is None:
        return None
    if text.strip().isascii() and text.strip().isdigit():
        return float(text)
    try:
        date = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, date.timestamp() - time.time())
