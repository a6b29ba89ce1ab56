"""A service whose behaviour is known: a few lines of the standard library.

In a test it runs in a thread. As a script it is a service to start: `python stand_in.py PORT`, with
`dies 60` behind it to end at its 61st request, or `stalls 60 2` to stall then for two seconds.
"""

import os
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Seen:
    """What the service was asked."""

    requests: list = field(default_factory=list)
    """Path, headers and body of each."""
    at_once: int = 0
    most_at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


def server(behave, port=0):
    """A server that answers request `n`, from 0, with the status and body of `behave(n)`.

    `behave` may sleep. A status of None closes the connection without an answer.
    """
    seen = Seen()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 1 << 16  # head and body in one piece, which no delayed acknowledgement parts

        def do_GET(self):
            self.answer(404, b"no such page")

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with seen.lock:
                number = len(seen.requests)
                seen.requests.append((self.path, dict(self.headers), body))
                seen.at_once += 1
                seen.most_at_once = max(seen.most_at_once, seen.at_once)
            status, answer = behave(number)
            with seen.lock:
                seen.at_once -= 1
            if status is None:
                self.close_connection = True
            else:
                self.answer(status, answer)

        def answer(self, status, body):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 1000

        def handle_error(self, *_):
            pass  # a client that has gone

    made = Server(("127.0.0.1", port), Handler)
    made.seen = seen
    return made


@contextmanager
def stand_in(behave):
    """The server in a thread: its address without a path, and what it has seen."""
    made = server(behave)
    threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{made.server_address[1]}", made.seen
    finally:
        made.shutdown()
        made.server_close()


def good(_):
    """Every photo is answered at once."""
    return 200, b'{"results": []}'


def stalling(at, seconds):
    """Answers at once, but for one stall, which begins with request `at`: nobody is answered."""
    door = threading.Lock()

    def behave(number):
        with door:
            if number == at:
                time.sleep(seconds)
        return good(number)

    return behave


def dying(at):
    """Answers at once, and ends itself with request `at`."""

    def behave(number):
        if number == at:
            print("out of cheese", flush=True)
            os._exit(3)
        return good(number)

    return behave


if __name__ == "__main__":
    what = sys.argv[2] if len(sys.argv) > 2 else "good"
    if what == "dies":
        chosen = dying(int(sys.argv[3]))
    elif what == "stalls":
        chosen = stalling(int(sys.argv[3]), float(sys.argv[4]))
    else:
        chosen = good
    server(chosen, port=int(sys.argv[1])).serve_forever()
