"""Every setting of the service: environment variables that begin with ALEXNET_.

`alexnet-serve` has the same as options (serve/run.py), and GET /v1/model shows them.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from alexnet.backends import BACKENDS, Mode
from alexnet.config import Views
from alexnet.errors import AlexNetError
from alexnet.photo import MAX_PIXELS

PREFIX = "ALEXNET_"
LONGEST_REQUEST = 55.0
"""BentoML itself ends a request after 60 seconds, with an answer that is none of ours."""
_LONGEST_START = 3600.0
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}


# Variables that others read: the commands, the tests, and CI.
_OTHERS = ("ALEXNET_TRACEBACK", "ALEXNET_CI", "ALEXNET_GPU", "ALEXNET_CACHE")
# What Kubernetes and Docker tell of services whose names are alexnet or begin with alexnet-:
# ALEXNET_SERVICE_HOST, ALEXNET_PORT, ALEXNET_PORT_3000_TCP_ADDR, ALEXNET_API_SERVICE_PORT_HTTP.
_INJECTED = re.compile(r"ALEXNET_(\w+_)?(PORT|SERVICE_HOST|SERVICE_PORT)(_\w+)?")
# The first of them that is a setting, too, tells itself apart: tcp://10.0.0.11:3000.
_LINK = re.compile(r"(tcp|udp|sctp)://.*")


class EnvironmentVariableError(AlexNetError):
    """An environment variable that there is not, or with a value that it can't have."""


def _count(text: str) -> int:
    """`3` or `20MB` or `50M`: at least 1; k, M and G are powers of 1000."""
    match = re.fullmatch(r"([0-9]{1,15}) ?([kMG]?)B?", text)
    number = int(match[1]) * _UNITS[match[2]] if match else 0
    if number < 1:
        raise ValueError("a number of at least 1, such as 3, 20MB or 50M")
    return number


def _seconds(text: str) -> float:
    seconds = _number(text)
    if not 0 < seconds <= LONGEST_REQUEST:
        raise ValueError(f"seconds, more than 0 and at most {LONGEST_REQUEST:g}")
    return seconds


def _patience(text: str) -> float:
    seconds = _number(text)
    if not 0 < seconds <= _LONGEST_START:
        raise ValueError(f"seconds, more than 0 and at most {_LONGEST_START:g}")
    return seconds


def _pause(text: str) -> float:
    milliseconds = _number(text)
    if not 0 <= milliseconds <= 1000:
        raise ValueError("milliseconds, 0 to 1000")
    return milliseconds / 1000


def _number(text: str) -> float:
    return float(text) if re.fullmatch(r"[0-9]{1,9}(\.[0-9]+)?", text) else -1.0


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return text

    return parse


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError("an IP address such as 127.0.0.1, 0.0.0.0 or ::") from None


def _port(text: str) -> int:
    if not re.fullmatch("[0-9]{1,5}", text) or not 0 < int(text) < 2**16:
        raise ValueError("a port, 1 to 65535")
    return int(text)


def _path(text: str) -> Path:
    return Path(text).absolute()


def _list_of(pattern: str, what: str) -> Callable[[str], tuple[str, ...]]:
    def parse(text: str) -> tuple[str, ...]:
        found = tuple(text.lower().replace(",", " ").split())
        if not found or not all(re.fullmatch(pattern, one) for one in found):
            raise ValueError(f"{what}, with commas or spaces between several")
        return found

    return parse


HOST = r"(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])"
"""A host's name or address as a pattern, in small letters."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the service runs and how much it takes; `SETTINGS` has a sentence for each."""

    model: Path | None = None
    backend: str = "auto"
    device: str = "cpu"
    views: Views | None = None
    threads: int | None = None
    mode: Mode = "throughput"
    batch: int = 4
    wait: float = 0.0
    queue: int = 256
    decode: str = "exact"
    max_body: int = 20_000_000
    max_pixels: int = MAX_PIXELS
    max_photos: int = 32
    max_requests: int = 1024
    max_uploads: int = 400_000_000
    upload_timeout: float = 10.0
    timeout: float = 50.0
    start_timeout: float = 120.0
    keys: Path | None = None
    metrics: str = "open"
    cors_origins: tuple[str, ...] | None = None
    hosts: tuple[str, ...] | None = None
    log: str = "auto"
    host: str = "127.0.0.1"
    port: int = 3000


@dataclass(frozen=True)
class Setting:
    """How a setting is read, and what it means."""

    parse: Callable[[str], Any]
    """Text to value, or a ValueError with what it may be."""
    help: str


SETTINGS = {
    "model": Setting(_path, "Checkpoint or exported file; none: the small model that ships."),
    "backend": Setting(_one_of("auto", *BACKENDS), "What runs the network; auto: by the file."),
    "device": Setting(str, "cpu, cuda or cuda:N."),
    "views": Setting(_one_of(*get_args(Views)), "ten, centre or dense; none: the file's own."),
    "threads": Setting(_count, "CPU threads of the network; none: the backend's choice."),
    "mode": Setting(
        _one_of(*get_args(Mode)),
        "throughput: batches side by side, each on some cores; latency: one on all.",
    ),
    "batch": Setting(_count, "Photos that the network gets at once, at most."),
    "wait": Setting(_pause, "Milliseconds that a batch waits for photos still being decoded."),
    "queue": Setting(_count, "Photos that may wait; requests beyond get 503."),
    "decode": Setting(
        _one_of("exact", "fast"),
        "fast: large JPEGs shrink while they are decoded; a few answers change a little.",
    ),
    "max_body": Setting(_count, "Bytes of one request's body."),
    "max_pixels": Setting(_count, "Width times height of one photo."),
    "max_photos": Setting(_count, "Photos of one request."),
    "max_requests": Setting(_count, "Requests read or answered at once; those beyond get 503."),
    "max_uploads": Setting(_count, "Bytes of all bodies at once; requests beyond get 503."),
    "upload_timeout": Setting(_seconds, "Seconds without a byte that end an upload."),
    "timeout": Setting(_seconds, "Seconds from a request's first byte to its answer."),
    "start_timeout": Setting(_patience, "Seconds that opening and trying the model may take."),
    "keys": Setting(_path, "File of API keys, KEY or NAME:KEY on a line; none: no key is needed."),
    "metrics": Setting(
        _one_of("open", "key", "off"), "Who may read /metrics: everybody, who has a key, nobody."
    ),
    "cors_origins": Setting(
        _list_of(rf"\*|https?://{HOST}(?::[0-9]+)?", "origins such as https://photos.example"),
        "Origins whose pages may ask; none: only the service's own page.",
    ),
    "hosts": Setting(
        _list_of(HOST, "host names such as photos.example"),
        "Names by which the service is asked; none: any.",
    ),
    "log": Setting(
        _one_of("auto", "json", "plain", "off"),
        "Lines about requests on stderr; auto: plain on a terminal, JSON elsewhere.",
    ),
    "host": Setting(_address, "Address to listen on."),
    "port": Setting(_port, "Port to listen on."),
}
"""Every field of `Settings` by its name."""


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + name.upper()


def read_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings of these environment variables; an empty one counts as not set.

    Raises:
        EnvironmentVariableError: a value is of the wrong kind, and the sentence says what it may
            be; or a name is unknown, and the sentence has similar ones.
    """
    _check_names(environment)
    values: dict[str, Any] = {}
    for name, setting in SETTINGS.items():
        text = environment.get(variable(name), "").strip()
        if text and not (name == "port" and _LINK.fullmatch(text)):
            try:
                values[name] = setting.parse(text)
            except ValueError as error:
                raise EnvironmentVariableError(
                    f"{variable(name)} is {text!r}, and must be {error}."
                ) from error
    return Settings(**values)


def shown(settings: Settings) -> dict[str, Any]:
    """Every setting as a JSON value, in the unit in which it is given, for whoever may ask.

    Where files of this machine lie is nobody's business: of the model's there is the name, of the
    keys' only whether there is one.
    """
    values = {name: getattr(settings, name) for name in SETTINGS}
    values["model"] = settings.model and settings.model.stem
    values["keys"] = settings.keys is not None
    values["wait"] = 1000 * settings.wait
    return values


def _check_names(environment: Mapping[str, str]) -> None:
    for name, text in environment.items():
        setting = name.removeprefix(PREFIX).lower()
        if not name.startswith(PREFIX) or not text.strip() or setting in SETTINGS:
            continue
        if name not in _OTHERS and not _INJECTED.fullmatch(name):
            similar = difflib.get_close_matches(setting, SETTINGS, n=2) or SETTINGS
            names = " or ".join(map(variable, similar))
            raise EnvironmentVariableError(
                f"There is no setting {name}: unset it, or take {names}."
            )
