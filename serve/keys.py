"""API keys: who may ask, by a file of keys that is read again whenever it changes."""

from __future__ import annotations

import codecs
import hashlib
import hmac
import logging
import re
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from alexnet.console import log
from alexnet.errors import AlexNetError
from serve.note import note_of
from serve.paths import DOCUMENTS, METRICS, PAGE, PROBES, template
from serve.problems import Problem, status_problem
from serve.settings import Settings, read_settings, variable

OPEN = frozenset({"/", PAGE, *PROBES, *DOCUMENTS})
"""What needs no key: the page, the probes, and the document that says how to ask."""
# RFC 6750's characters of a token, and no fewer of them than can't be guessed.
_LINE = re.compile(r"(?:(?P<name>[A-Za-z0-9._-]{1,64}):)?(?P<key>[A-Za-z0-9._~+/=-]{16,256})")
_LARGEST = 1_000_000
# What may stand around a line: also a byte-order mark, of the file or of one that was appended.
_BLANKS = " \t\f\v\ufeff"
# Seconds for which a changed file is left alone: it may be half written.
_SETTLING = 0.5
_logger = logging.getLogger("alexnet.serve")


class KeysError(AlexNetError):
    """A file of keys that can't be read, or that has none, or a line that is none."""


@dataclass(frozen=True)
class Key:
    """What is kept of one line of the file."""

    name: str | None
    """What the log calls who has it."""
    digest: bytes
    """SHA-256 of the key: the key itself is kept nowhere."""


def read_keys(path: Path) -> tuple[Key, ...]:
    """The keys of a file: one `key` or `name:key` on a line; lines that begin with # are not read.

    It is UTF-8, or UTF-16 with a byte-order mark, as Windows writes it.

    Raises:
        KeysError: the file can't be read, has no key, or has a line that is none. The sentence
            names the line by its number: what is in it stays untold.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError as error:
        raise KeysError(f"The keys can't be read from {path}: {error.strerror}.") from error
    if len(content) > _LARGEST:
        raise KeysError(f"{path} has more than {_LARGEST} bytes, which no file of keys has.")
    keys = []
    for number, line in enumerate(_decoded(content).splitlines(), 1):
        text = line.strip(_BLANKS)
        if not text or text.startswith("#"):
            continue
        match = _LINE.fullmatch(text)
        if match is None:
            raise KeysError(
                f"Line {number} of {path} is no key: write KEY or NAME:KEY, where KEY has 16 to "
                "256 letters, digits or any of -._~+/=."
            )
        keys.append(Key(match["name"], _digest(match["key"])))
    if not keys:
        raise KeysError(f"There is no key in {path}: write one on a line, or take none of it.")
    return tuple(keys)


def _decoded(content: bytes) -> str:
    """The text of a file that an editor of any system wrote; what is no text fits no key."""
    utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if utf16 else "utf-8", "replace")


def check_keys(settings: Settings) -> None:
    """What must hold of the keys before the service starts; a warning if others can read them.

    Raises:
        KeysError: of `read_keys`, or other settings do not go with them.
    """
    if settings.keys is None:
        if settings.metrics == "key":
            raise KeysError(f"{variable('metrics')} is 'key', so set {variable('keys')}, too.")
        return
    if "*" in (settings.cors_origins or ()):
        raise KeysError(
            f"{variable('cors_origins')} is '*', which does not go with {variable('keys')}: "
            "name the origins."
        )
    read_keys(settings.keys)
    if settings.keys.stat().st_mode & stat.S_IROTH:
        log(f"Everybody on this machine can read {settings.keys}: run `chmod 640` on it.")


class KeyRing:
    """The keys of a file as it is now, or as it was when it last made sense."""

    def __init__(self, path: Path) -> None:
        """Read the file. Where that fails there is no key, and nobody gets in."""
        self._path = path
        self._keys: tuple[Key, ...] = ()
        self._version: object = None
        self._read(self._look()[0])

    def find(self, given: str) -> Key | None:
        """The key, if it is one of the file's. It takes as long for any that is not."""
        self._refresh()
        digest, found = _digest(given), None
        for key in self._keys:
            if hmac.compare_digest(digest, key.digest):
                found = key
        return found

    def _look(self) -> tuple[object, float]:
        """What tells this version of the file from others, and when it was written."""
        try:
            found = self._path.stat()
        except OSError as error:
            return error.errno, 0.0
        return (found.st_mtime_ns, found.st_size, found.st_ino), found.st_mtime

    def _refresh(self) -> None:
        version, written = self._look()
        if version != self._version and not 0 <= time.time() - written < _SETTLING:
            self._read(version)

    def _read(self, version: object) -> None:
        self._version = version
        try:
            self._keys = read_keys(self._path)
        except KeysError as error:
            kept = "the keys read before hold" if self._keys else "nobody gets in"
            _logger.error("%s Until then %s.", error, kept)


class KeysMiddleware:
    """Refuses requests without a key with 401, where the settings name a file of keys."""

    def __init__(self, app: ASGIApp, *, settings: Settings | None = None) -> None:
        """`settings`: those of the environment, unless given."""
        self.app = app
        self._settings = settings or read_settings()
        path = self._settings.keys
        self._ring = None if path is None else KeyRing(path)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As any ASGI application."""
        problem = self._problem(scope) if scope["type"] == "http" else None
        await (self.app if problem is None else problem.response())(scope, receive, send)

    def _problem(self, scope: Scope) -> Problem | None:
        route = template(scope["path"])
        if route == METRICS:
            if self._settings.metrics == "off":
                return status_problem(404, scope)
            if self._settings.metrics == "open":
                return None
        if self._ring is None or route in OPEN:
            return None
        request = Request(scope)
        given = _given(request)
        key = None if given is None else self._ring.find(given)
        if key is None:
            return _refused(given)
        note_of(scope).client = key.name
        return None


def _given(request: Request) -> str | None:
    """The key that comes with a request."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return request.headers.get("x-api-key", "").strip() or None


def _refused(given: str | None) -> Problem:
    headers = {"WWW-Authenticate": 'Bearer realm="alexnet"'}
    if given is not None:
        headers["WWW-Authenticate"] += ', error="invalid_token"'
    detail = (
        "A key is needed: send the header Authorization: Bearer KEY, or X-API-Key: KEY."
        if given is None
        else "This key is not known here."
    )
    code = "key_needed" if given is None else "unknown_key"
    return Problem(401, code, detail, headers=headers)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
