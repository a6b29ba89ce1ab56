"""Every setting of the service: environment variables that begin with ALEXNET_."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from alexnet.backends import BACKENDS
from alexnet.config import Views
from alexnet.errors import AlexNetError
from alexnet.photo import MAX_PIXELS

PREFIX = "ALEXNET_"
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}


# Variables that others read: the commands, the tests, and CI.
_OTHERS = ("ALEXNET_TRACEBACK", "ALEXNET_CI", "ALEXNET_GPU")
# What Kubernetes and Docker tell of services whose names are alexnet or begin with alexnet-:
# ALEXNET_SERVICE_HOST, ALEXNET_PORT, ALEXNET_PORT_3000_TCP_ADDR, ALEXNET_API_SERVICE_PORT_HTTP.
_INJECTED = re.compile(r"ALEXNET_(\w+_)?(PORT|SERVICE_HOST|SERVICE_PORT)(_\w+)?")


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
    seconds = float(text) if re.fullmatch(r"[0-9]{1,9}(\.[0-9]+)?", text) else 0.0
    if not 0 < seconds <= LONGEST_REQUEST:
        raise ValueError(f"seconds, more than 0 and at most {LONGEST_REQUEST:g}")
    return seconds


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return text

    return parse


def _path(text: str) -> Path:
    return Path(text).absolute()


LONGEST_REQUEST = 55.0
"""BentoML itself ends a request after 60 seconds, with an answer that is none of ours."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the service runs and how much it takes; `max_body` is ALEXNET_MAX_BODY, and so on."""

    model: Path | None = None
    """A checkpoint or an exported file; None: the small model that ships."""
    backend: str = "auto"
    """What runs the network; `auto`: by the file's ending."""
    device: str = "cpu"
    """`cpu`, `cuda` or `cuda:N`."""
    views: Views | None = None
    """`ten` or `centre`; None: the file's own."""
    threads: int | None = None
    """CPU threads of the network; None leaves it to the backend."""
    max_body: int = 20_000_000
    """Bytes of one request's body."""
    max_pixels: int = MAX_PIXELS
    """Width times height of one photo."""
    max_photos: int = 32
    """Photos of one request."""
    max_requests: int = 32
    """Requests that are being read or answered at once; those beyond wait before they are read, so
    that uploads never take more memory than `max_requests` times `max_body`."""
    timeout: float = 50.0
    """Seconds from a request's first byte to its answer."""


_PARSERS: dict[str, Callable[[str], Any]] = {
    "model": _path,
    "backend": _one_of("auto", *BACKENDS),
    "device": str,
    "views": _one_of(*get_args(Views)),
    "threads": _count,
    "max_body": _count,
    "max_pixels": _count,
    "max_photos": _count,
    "max_requests": _count,
    "timeout": _seconds,
}


def read_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings of these environment variables; an empty one counts as not set.

    Raises:
        EnvironmentVariableError: a value is of the wrong kind, and the sentence says what it may
            be; or a name is unknown, and the sentence has similar ones.
    """
    _check_names(environment)
    values: dict[str, Any] = {}
    for setting, parse in _PARSERS.items():
        name = PREFIX + setting.upper()
        if text := environment.get(name, "").strip():
            try:
                values[setting] = parse(text)
            except ValueError as error:
                raise EnvironmentVariableError(
                    f"{name} is {text!r}, and must be {error}."
                ) from error
    return Settings(**values)


def _check_names(environment: Mapping[str, str]) -> None:
    for name, text in environment.items():
        setting = name.removeprefix(PREFIX).lower()
        if not name.startswith(PREFIX) or not text.strip() or setting in _PARSERS:
            continue
        if name not in _OTHERS and not _INJECTED.fullmatch(name):
            similar = difflib.get_close_matches(setting, _PARSERS, n=2) or _PARSERS
            names = " or ".join(PREFIX + setting.upper() for setting in similar)
            raise EnvironmentVariableError(
                f"There is no setting {name}: unset it, or take {names}."
            )
