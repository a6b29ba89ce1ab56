"""What the tests of alexnet-label share: a network that answers at once, photos, and runs."""

import csv
import functools
import io
import json
import os
import subprocess
import sys
import tarfile
from dataclasses import replace

from alexnet.fresh import fresh_checkpoint
from export.choices import GraphChoices
from export.graph import write_onnx
from tests.commands import here
from tests.models import tiny
from tests.photos import encode, pattern

ENV = {**os.environ, "OMP_NUM_THREADS": "1"}


def write_model(path, *, seed=0, features=True):
    """The least network of all, whose answers differ from photo to photo; the centre view."""
    config = tiny()
    network = config.network
    network = replace(
        network,
        convs=tuple(replace(conv, maps=4, init_std=0.1) for conv in network.convs),
        fc6=replace(network.fc6, units=8, init_std=1.0),
        fc7=replace(network.fc7, units=6, init_std=1.0),
        fc8_init_std=1.0,
    )
    checkpoint = fresh_checkpoint(replace(config, network=network), seed=seed)
    choices = GraphChoices(target="onnxruntime")
    write_onnx(checkpoint, path, views="centre", features=features, choices=choices)
    return path


@functools.cache
def small_photo(number):
    """One of 97 different photos; three of them are torn."""
    data = encode(pattern(48, 48, seed=number), "BMP")
    return data[: len(data) // 2] if number % 31 == 7 else data


def write_photos(folder, count):
    """`count` names of 97 photos."""
    folder.mkdir(parents=True)
    for number in range(min(count, 97)):
        (folder / f"{number:05}.bmp").write_bytes(small_photo(number))
    for number in range(97, count):
        os.link(folder / f"{number % 97:05}.bmp", folder / f"{number:05}.bmp")
    return folder


def nested(folder, depth, name="d"):
    """So many folders in each other below `folder`, and a photo in the last; its path from there.

    The path may be longer than the system takes.
    """
    (folder / "deep").mkdir()
    handle = os.open(folder / "deep", os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=handle)
        below = os.open(name, os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = below
    photo = os.open("photo.bmp", os.O_CREAT | os.O_WRONLY, dir_fd=handle)
    os.close(handle)
    with os.fdopen(photo, "wb") as file:
        file.write(small_photo(3))
    return "/".join(["deep", *[name] * depth, "photo.bmp"])


def write_tar(path, members, **options):
    """A tar of photos: name to bytes."""
    with tarfile.open(path, "w", **options) as tar:
        for name, data in members.items():
            add(tar, name, data)
    return path


def add(tar, name, data):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def start(*arguments, **options):
    """`alexnet-label` as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "serve", *map(os.fspath, arguments)],
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": ENV, **options},
    )


def run(*arguments, stdin=None, **options):
    """Exit code and standard error of a whole run; with `options` in a process of its own."""
    if not options:
        done = here("serve.label", *arguments, stdin=stdin or b"")
        return done.returncode, done.stderr
    process = start(*arguments, stdin=None if stdin is None else subprocess.PIPE, **options)
    error = process.communicate(stdin, timeout=300)[1]
    return process.returncode, error.decode()


def read_csv(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_jsonl(path):
    with path.open(encoding="utf-8", newline="\n") as file:
        return [json.loads(line) for line in file]
