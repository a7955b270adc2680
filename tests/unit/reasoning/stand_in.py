"""A small stand-in for an OpenAI-compatible server on this machine; it speaks the protocol, well or badly."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    """`behave`: function of (number of the request, body) -> (status, JSON or bytes)."""

    daemon_threads = True

    def __init__(self, behave):
        self.bodies, self.behave, self.lock = [], behave, threading.Lock()
        super().__init__(("127.0.0.1", 0), Handler)

    def handle_error(self, request, client_address):
        """A client that has gone away is what some tests are about."""


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.bodies.append((self.path, dict(self.headers), body))
            number = len(self.server.bodies)
        status, answer = self.server.behave(number, body)
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        """Quiet."""


@contextmanager
def serving(behave: Callable) -> Iterator[tuple[Server, str]]:
    """(server, its address up to `/v1`)."""
    server = Server(behave)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server, f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()


def reply(text, finish="stop", tokens=5, **more):
    logprobs = {"content": [{"token": "x", "logprob": -0.25}] * tokens}
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": finish, "logprobs": logprobs, **more}
    return 200, {"choices": [choice], "usage": {"prompt_tokens": 11, "completion_tokens": tokens}}
