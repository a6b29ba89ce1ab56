"""`make demo`: the whole chain on a real data set in a few minutes, from photos to an HTTP answer.

Every step is a command that a user could type; the rooms are reached in no other way. Everything
stays in runs/demo/, with a summary.json.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alexnet.checkpoint import shipped_model
from alexnet.console import log, print_table, progress
from alexnet.files import write_json

ROOT = Path(__file__).parent.parent
OUT = Path("runs", "demo")
BIN = Path(sys.executable).parent


class Demo:
    """Runs commands one after another and keeps what they said."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Any]] = []

    def run(self, step: str, *command: str | Path) -> str:
        """Run a command of this project; its stdout. The demo ends where a step fails."""
        words = [str(word) for word in command]
        shown = " ".join(words)
        log(f"\n$ {shown}")
        started = time.perf_counter()
        done = subprocess.run([str(BIN / words[0]), *words[1:]], stdout=subprocess.PIPE, text=True)
        if done.returncode:
            sys.stdout.write(done.stdout)
            sys.exit(f"demo: the step '{step}' failed (exit code {done.returncode}).")
        self.note(step, shown, time.perf_counter() - started)
        return done.stdout

    def note(self, step: str, command: str, seconds: float) -> None:
        """Keep a finished step."""
        self.steps.append({"step": step, "command": command, "seconds": round(seconds, 1)})

    def result(self, **figures: Any) -> None:
        """Figures of the last step."""
        self.steps[-1]["result"] = figures


def last_json(text: str) -> dict[str, Any]:
    """The JSON object in the last line of a command's stdout."""
    return dict(json.loads(text.strip().splitlines()[-1]))


def main() -> None:
    """Run the chain and print the summary."""
    os.chdir(ROOT)
    shutil.rmtree(OUT, ignore_errors=True)
    demo = Demo()
    train_and_measure(demo)
    export_and_verify(demo)
    label_digits(demo)
    serve_a_photo(demo)
    bench(demo)
    write_json(OUT / "summary.json", {"steps": demo.steps})
    rows = [
        (step["step"], f"{step['seconds']:.1f}", in_words(step.get("result", {})))
        for step in demo.steps
    ]
    print_table("alexnet demo", ("step", "seconds", "result"), rows)
    print("Ten views do not help digits: half of them are mirrored, and a mirrored 2 is no digit.")
    print(f"Everything is in {OUT}/, the figures in summary.json.")


def train_and_measure(demo: Demo) -> None:
    """Prepare the digits, train mini on them, measure it with one view and with ten."""
    demo.run("prepare", "alexnet-train", "prepare", "digits", OUT / "digits", "--size", "64")
    facts = json.loads((OUT / "digits" / "dataset.json").read_text("utf-8"))
    demo.result(classes=len(facts["classes"]), source=facts["source"])
    fit = ("fit", "--preset", "mini", "--data", OUT / "digits", "--out", OUT / "run")
    text = demo.run("train", "alexnet-train", *fit, "--epochs", "8")
    metrics = last_json(text)
    demo.result(epochs=metrics["epoch"], photos_per_second=round(metrics["photos_per_second"]))
    for views in ("centre", "ten"):
        text = demo.run(
            f"evaluate, {'one view' if views == 'centre' else 'ten views'}",
            *("alexnet-train", "evaluate", OUT / "run" / "model.safetensors"),
            *("--data", OUT / "digits", "--views", views),
        )
        found = last_json(text)
        demo.result(**{f"{k}_error": f"{100 * found[f'{k}_error']:.2f}%" for k in ("top1", "top5")})


def export_and_verify(demo: Demo) -> None:
    """Write the ONNX graph and prove that it gives the same answers."""
    model, graph = OUT / "run" / "model.safetensors", OUT / "model.onnx"
    demo.run("export", "alexnet-export", "onnx", model, "-o", graph)
    demo.result(megabytes=round(graph.stat().st_size / 1e6, 1))
    text = demo.run("verify", "alexnet-export", "verify", model, graph)
    found = last_json(text)
    demo.result(max_difference=f"{found['max_difference']:.1e}", photos=found["photos"])


def label_digits(demo: Demo) -> None:
    """Label a folder of the digits' validation photos and count the right answers."""
    photos = OUT / "photos"
    truth = unpack_validation(photos)
    table = OUT / "labels.csv"
    demo.run("label", "alexnet-label", photos, "-o", table, "--model", OUT / "model.onnx")
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    right = sum(int(row["index"]) == truth[Path(row["path"]).stem] for row in rows)
    demo.result(photos=len(rows), right=right)


def unpack_validation(folder: Path) -> dict[str, int]:
    """Write the validation photos out of their shards; the class of each file's stem."""
    folder.mkdir(parents=True)
    truth = {}
    for shard in sorted((OUT / "digits").glob("val-*.tar")):
        with tarfile.open(shard) as archive:
            for member in archive:
                file = archive.extractfile(member)
                assert file is not None
                name = Path(member.name)
                if name.suffix == ".cls":
                    truth[name.stem] = int(file.read())
                else:
                    (folder / name.name).write_bytes(file.read())
    return truth


def serve_a_photo(demo: Demo) -> None:
    """Start the service with the shipped model and send it one of scikit-learn's photographs."""
    from sklearn.datasets import load_sample_images

    photo = Path(load_sample_images().filenames[0])
    started = time.perf_counter()
    with service() as address:
        request = urllib.request.Request(
            f"{address}/v1/classify?top_k=5",
            data=photo.read_bytes(),
            headers={"Content-Type": "image/jpeg"},
        )
        sent = time.perf_counter()
        with urllib.request.urlopen(request, timeout=30) as response:
            answer = json.load(response)
        milliseconds = 1000 * (time.perf_counter() - sent)
    demo.note("serve", "bentoml serve", time.perf_counter() - started)
    write_json(OUT / "answer.json", answer)
    best = answer["results"][0]["predictions"][0]
    demo.result(
        photo=photo.name,
        best=best["name"],
        probability=round(best["probability"], 3),
        milliseconds=round(milliseconds, 1),
    )


@contextmanager
def service() -> Iterator[str]:
    """`bentoml serve` on a free port of this machine, as a user starts it; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(BIN / "bentoml"), "serve", "--port", str(port)]
    log(f"\n$ bentoml serve --port {port}    (model: {shipped_model().name})")
    with (OUT / "service.log").open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(process, address)
        yield address
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


def wait_until_ready(process: subprocess.Popen[bytes], address: str) -> None:
    """Wait for /readyz, at most a minute."""
    with progress("Starting the service", total=None, unit="tries") as bar:
        for _ in range(600):
            try:
                with urllib.request.urlopen(f"{address}/readyz", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                if process.poll() is not None:
                    break
                bar.advance()
                time.sleep(0.1)
    sys.exit(f"demo: the service did not start; see {OUT / 'service.log'}.")


def bench(demo: Demo) -> None:
    """Latency of the trained network in PyTorch and in ONNX Runtime, in one run."""
    text = demo.run(
        "bench",
        *("alexnet-bench", "latency", OUT / "model.onnx", OUT / "run" / "model.safetensors"),
        *("--count", "30"),
    )
    found = last_json(text)
    write_json(OUT / "latency.json", found)
    figures = {}
    for row in found["results"]:
        figures[f"{row['backend']}_ms"] = round(row["latency_ms"]["p50"], 2)
        if not row["baseline"]:
            figures[f"{row['backend']}_times_as_fast"] = round(row["ratio"]["value"], 2)
    demo.result(**figures, verdict=found["verdict"])


def in_words(figures: dict[str, Any]) -> str:
    """`a 1, b 2`."""
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in figures.items())


if __name__ == "__main__":
    main()
