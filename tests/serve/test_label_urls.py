"""Addresses that alexnet-label asks servers for: as they were given, through redirects, and ended.

The server here notes each request line as it came, which is what a signature is checked against.
"""

import io
import os
import signal
import socket
import socketserver
import tarfile
import threading

import pytest

from alexnet.photo import PhotoError
from serve import remote
from serve.inputs import Inputs, entries
from serve.reading import items
from serve.remote import UrlReader, interruptible
from serve.shards import photos_in_shard
from serve.web import sendable
from tests.serve.label_runs import add, small_photo


class _Handler(socketserver.StreamRequestHandler):
    """Answers a request by what the server's table has under its target, without parsing it."""

    def handle(self):
        line = self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        target = line.split(b" ")[1] if line.count(b" ") == 2 else line
        self.server.asked.append(target.decode("latin-1"))
        status, header, body = self.server.answers.get(self.server.asked[-1], (404, b"", b""))
        self.wfile.write(
            b"HTTP/1.1 %d x\r\nConnection: close\r\nContent-Length: %d\r\n%s\r\n%s"
            % (status, len(body), header, body)
        )


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True


@pytest.fixture
def server(monkeypatch):
    """What it was asked is in `asked`; `answers` are status, header lines and body by target."""
    monkeypatch.setattr(remote, "_PAUSE", 0.0)
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.asked, server.answers = [], {}
        server.url = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


SIGNED = "/b%2Fc/it%27s%40home%20a+b.jpg?X-Sig=a%2Fb%2Bc%3D%3D&t=1+2&e=&q=%c3%a9;x=[1]~"


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (SIGNED, SIGNED),
        ("/a%7Eb%2d.jpg", "/a%7Eb%2d.jpg"),  # escapes that need not be, and in small letters
        ("/a b/ü.jpg?x=y z", "/a%20b/%C3%BC.jpg?x=y%20z"),
        ("/100%.jpg", "/100%25.jpg"),
        ("/a//b/../c.jpg", "/a//b/../c.jpg"),
        ("/a.jpg#part", "/a.jpg"),
        ("?x=1", "/?x=1"),
        ("/caf\udce9.jpg", "/caf%E9.jpg"),  # a byte that is not UTF-8, from a list
    ],
)
def test_an_address_is_sent_as_it_was_given(server, given, sent):
    server.answers[sent] = 200, b"", b"photo"
    assert remote.read_url(server.url + given) == b"photo"
    assert server.asked == [sent]


def test_a_redirect_is_followed_to_the_very_address_that_it_names(server):
    server.answers["/short"] = 302, b"Location: %s\r\n" % SIGNED.encode(), b""
    server.answers[SIGNED] = 307, f"Location: {server.url}/t%40/x.jpg?s=%2F\r\n".encode(), b""
    server.answers["/t%40/x.jpg?s=%2F"] = 301, "Location: ../ü y%2F\r\n".encode(), b""
    server.answers["/%C3%BC%20y%2F"] = 200, b"", b"photo"
    assert remote.read_url(f"{server.url}/short") == b"photo"
    assert server.asked == ["/short", SIGNED, "/t%40/x.jpg?s=%2F", "/%C3%BC%20y%2F"]


def test_shards_and_tables_are_asked_for_by_the_same_address(server):
    tar, table = io.BytesIO(), b"path\nx%2Fy z.jpg\n"
    with tarfile.open(fileobj=tar, mode="w") as file:
        add(file, "a.bmp", small_photo(0))
    server.answers["/s%40.tar?sig=a%2Fb"] = 200, b"", tar.getvalue()
    server.answers["/t%40/t.csv?sig=a%2Fb"] = 200, b"", table
    shard = f"{server.url}/s%40.tar?sig=a%2Fb"
    assert [content for _, content in photos_in_shard(shard)] == [small_photo(0)]
    inputs = Inputs(manifest=f"{server.url}/t%40/t.csv?sig=a%2Fb")
    assert list(entries(inputs)) == [f"{server.url}/t%40/x%2Fy z.jpg"]


@pytest.mark.parametrize(
    ("header", "sentence"),
    [
        (b"Location: /loop\r\n", "the server redirects more than 10 times"),
        (b"", "the server redirects without saying where to"),
        (b"Location: file:///etc/passwd\r\n", "the server redirects to file:///etc/passwd, which"),
    ],
)
def test_a_redirect_that_leads_nowhere_is_a_sentence(server, header, sentence):
    server.answers["/loop"] = 302, header, b""
    with pytest.raises(PhotoError, match=f"'{server.url}/loop' cannot be read: {sentence}"):
        remote.read_url(f"{server.url}/loop")
    assert len(server.asked) in (1, 11)  # it is not tried again
    ((_, error),) = photos_in_shard(f"{server.url}/loop?s.tar")
    assert isinstance(error, PhotoError)


def test_an_international_host_gets_the_form_that_it_has_in_the_net():
    assert sendable("http://bücher.example/ü") == "http://xn--bcher-kva.example/%C3%BC"
    assert sendable("https://u:p%40@h:81/x") == "https://u:p%40@h:81/x"


def test_what_a_server_breaks_off_is_no_photo(server):
    class Short(_Handler):
        def handle(self):
            self.rfile.readline()
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")

    server.RequestHandlerClass = Short
    with pytest.raises(PhotoError, match="cannot be read"):
        remote.read_url(f"{server.url}/a.jpg")


def test_the_next_run_of_a_process_reads_urls_again(server):
    """An interrupt ends the waiting of the run that it came in, and no other's."""
    server.answers["/a.jpg"] = 200, b"", b"photo"
    url = f"{server.url}/a.jpg"

    def interrupted_run():
        with interruptible():
            found = next(items([url]))
            os.kill(os.getpid(), signal.SIGTERM)
            found.source()

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        interrupted_run()
    assert signal.getsignal(signal.SIGTERM) is before
    assert next(items([url])).source() == b"photo"


# file: addresses


@pytest.mark.parametrize("start", ["file://", "file://localhost", "file:", "FILE://"])
def test_a_file_address_names_a_local_file_its_escapes_undone(tmp_path, start):
    (tmp_path / "a b%ü.jpg").write_bytes(b"photo")
    url = (tmp_path / "a b%ü.jpg").as_uri().replace("file://", start)
    assert "%20" in url
    assert remote.read_url(url) == b"photo"
    assert list(entries(Inputs(arguments=(url,)))) == [url]


def test_a_file_address_that_was_not_escaped_is_read_all_the_same(tmp_path):
    (tmp_path / "a%20b.jpg").write_bytes(b"percent")
    assert remote.read_url(f"file://{tmp_path}/a%20b.jpg") == b"percent"
    (tmp_path / "a b.jpg").write_bytes(b"space")
    assert remote.read_url(f"file://{tmp_path}/a%20b.jpg") == b"space"


def test_folders_and_globs_behind_file_addresses_give_addresses_that_can_be_read(tmp_path):
    folder = tmp_path / "my photos"
    folder.mkdir()
    for name in ("a%20b.jpg", "a b.jpg", "ü.jpg"):
        (folder / name).write_bytes(name.encode())
    for url in (folder.as_uri(), f"{folder.as_uri()}/*.jpg"):
        found = list(entries(Inputs(arguments=(url,))))
        assert [remote.read_url(one).decode() for one in found] == [
            *("a b.jpg", "a%20b.jpg", "ü.jpg"),
        ]
        assert all(one.startswith("file:///") and " " not in one for one in found)


def test_a_file_address_without_a_file_is_missing(tmp_path):
    with pytest.raises(PhotoError) as caught:
        remote.read_url(f"file://{tmp_path}/none%20.jpg")
    assert caught.value.code == "missing_file"


def test_shards_and_tables_may_be_file_addresses(tmp_path):
    with tarfile.open(tmp_path / "a b.tar", "w") as tar:
        add(tar, "a.bmp", small_photo(0))
    shard = (tmp_path / "a b.tar").as_uri()
    assert list(photos_in_shard(shard)) == [(f"{shard}/a.bmp", small_photo(0))]
    (tmp_path / "t 1.csv").write_text("path\nx%20y.jpg\n/abs.jpg\n")
    found = list(entries(Inputs(manifest=(tmp_path / "t 1.csv").as_uri())))
    assert found == [f"{tmp_path}/x%20y.jpg", "/abs.jpg"]


def test_who_waits_for_a_silent_server_hears_of_an_interrupt_after_the_run_has_ended():
    waits = []

    def run(url):
        with interruptible():
            waits.append(UrlReader(1).later(url))
            signal.raise_signal(signal.SIGINT)

    with socket.create_server(("127.0.0.1", 0)) as server:
        with pytest.raises(KeyboardInterrupt):
            run(f"http://127.0.0.1:{server.getsockname()[1]}/photo.jpg")
        with pytest.raises(PhotoError, match="interrupted"):
            waits[0]()
