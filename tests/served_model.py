"""An OpenAI-compatible server in a thread, whose answers a function makes."""

import contextlib
import http.server
import json
import threading

from mtra_jax.prompting import prompts


def chat(text, **message):
    """The body of a chat completion; `message`: further members of its message."""
    choice = {"message": {"content": text, **message}, "finish_reason": "stop"}
    return json.dumps({"choices": [choice]})


class Served:
    """`url`; `requests`: (headers, body) of each request, in the order of their arrival."""

    def __init__(self, answer):
        self.requests, self._answer = [], answer
        self._lock = threading.Lock()

    def take(self, headers, body):
        with self._lock:
            self.requests.append((headers, body))
            number = sum(
                own["messages"] == body["messages"] for _, own in self.requests
            )
        return self._answer(_text(body), number)

    @property
    def prompts(self):
        return [_text(body) for _, body in self.requests]


def _text(body):
    """The messages as one text, like that of a model that does not chat."""
    return prompts.text_of(tuple(own["content"] for own in body["messages"]))


@contextlib.contextmanager
def serving(answer):
    """Yields a `Served`. `answer(prompt, try)` is a body, or (status, headers, body).

    A body is a text, or texts that are sent as they come.
    """
    served = Served(answer)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            size = int(self.headers["Content-Length"])
            body = json.loads(self.rfile.read(size))
            result = served.take(dict(self.headers), body)
            status, headers, content = (
                (200, {}, result) if isinstance(result, str) else result
            )
            if self.path != "/v1/chat/completions":
                status = 404
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(OSError):  # the client did not wait
                for part in [content] if isinstance(content, str) else content:
                    self.wfile.write(part.encode())

        def log_message(self, *arguments):
            del arguments

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
