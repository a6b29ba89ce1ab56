"""Every preset's graphs against PyTorch: the largest difference of a probability on real photos.

Each preset's network is untrained, its layers scaled to a trained one's size. It is written once
for each form of a graph and run by each runtime that takes that form. Ends with a line of JSON, and
with 1 where a difference is more than the tolerance.

    python scripts/agreement.py --photos photos/
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.backends import Backend, open_backend
from alexnet.checkpoint import Checkpoint, save_checkpoint
from alexnet.config import PRESETS, Config, preset
from alexnet.console import print_table, progress, sentences
from alexnet.errors import AlexNetError, MissingPackageError, optional_import
from alexnet.files import check_output_file, write_text
from alexnet.machine import versions
from export.choices import GraphChoices, choices_for
from export.graph import write_onnx
from export.real_photos import real_photos
from export.sharing import sharing_of
from train.untrained import untrained

RUNTIMES = {"onnxruntime": None, "openvino": "openvino"}
"""Backends that run graphs on CPUs, and the extra that brings each."""


def forms(config: Config) -> dict[str, GraphChoices]:
    """A preset's graphs, by name: one for each target, and OpenVINO's with split columns."""
    found = {
        target: choices_for(target, config) for target in ("portable", "onnxruntime", "openvino")
    }
    found["openvino, split"] = replace(found["openvino"], columns="split")
    return found


def answers_of(
    backend: Backend, photos: NDArray[np.uint8], batch: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Probabilities and features of all photos, `batch` at a time."""
    parts = []
    with progress(backend.name, total=len(photos), unit="photos") as bar:
        for start in range(0, len(photos), batch):
            parts.append(backend.run_features(photos[start : start + batch]))
            bar.advance(len(parts[-1][0]))
    backend.close()
    return np.concatenate([p for p, _ in parts]), np.concatenate([f for _, f in parts])


def compare(
    checkpoint: Checkpoint,
    photos: NDArray[np.uint8],
    folder: Path,
    *,
    runtimes: Sequence[str],
    batch: int,
) -> Iterator[dict[str, Any]]:
    """A row for each form and runtime, with the largest differences from PyTorch."""
    save_checkpoint(checkpoint, folder / "model.safetensors")
    answers, features = answers_of(open_backend(folder / "model.safetensors"), photos, batch)
    for form, choices in forms(checkpoint.config).items():
        path = folder / "model.onnx"
        model = write_onnx(checkpoint, path, features=True, choices=choices)
        for runtime in runtimes:
            found, found_features = answers_of(open_backend(path, backend=runtime), photos, batch)
            difference = np.abs(found - answers)
            yield {
                "preset": checkpoint.config.preset,
                "form": form,
                "nodes": len(model.graph.node),
                "runtime": runtime,
                "photos": len(photos),
                "max_difference": float(difference.max()),
                "mean_difference": float(difference.mean()),
                "top1_agreement": float((found.argmax(1) == answers.argmax(1)).mean()),
                "max_feature_difference": float(
                    np.abs(found_features - features).max() / np.abs(features).max()
                ),
                "mean_best_probability": float(answers.max(axis=1).mean()),
            }


def installed(runtimes: Sequence[str]) -> list[str]:
    """The runtimes that are there; a line on stderr for each other."""
    found = []
    for name in runtimes:
        try:
            optional_import(name, extra=RUNTIMES[name])
        except MissingPackageError as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
        else:
            found.append(name)
    return found


def print_rows(rows: Sequence[dict[str, Any]]) -> None:
    """The table for people."""
    columns = ["preset", "graph", "nodes", "runtime", "max dp", "max df", "same top-1"]
    lines = [
        [
            row["preset"],
            row["form"],
            str(row["nodes"]),
            row["runtime"],
            f"{row['max_difference']:.1e}",
            f"{row['max_feature_difference']:.1e}",
            f"{100 * row['top1_agreement']:.1f} %",
        ]
        for row in rows
    ]
    print_table(
        f"{rows[0]['photos']} photos: largest differences from PyTorch, of a probability (dp) and "
        "of a feature as part of the largest (df)",
        columns,
        lines,
    )


def main() -> int:
    """Run the comparison; 1 where a probability differs too much."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--presets", nargs="+", choices=PRESETS, default=list(PRESETS))
    parser.add_argument("--runtimes", nargs="+", choices=RUNTIMES, default=list(RUNTIMES))
    parser.add_argument(
        "--photos", type=Path, help="a folder; else pieces of scikit-learn's two photographs"
    )
    parser.add_argument("--count", type=int, default=200, help="photos at most")
    parser.add_argument("--batch", type=int, default=4, help="photos of a call")
    parser.add_argument("--tolerance", type=float, default=1e-5)
    parser.add_argument("--json", type=Path, help="write the line of JSON to this file as well")
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    if given.json is not None:
        check_output_file(given.json)
    try:
        runtimes = installed(given.runtimes)
        for name in given.presets:
            config = preset(name)
            print(f"{name}: {sharing_of(config).sentence}", file=sys.stderr)
            pictures = real_photos(given.photos, config.input, count=given.count)
            photos = np.stack([pixels for _, pixels in pictures])
            checkpoint = untrained(config, seed=0, scaled=True)
            with tempfile.TemporaryDirectory(prefix="alexnet-agreement-") as folder:
                rows += compare(
                    checkpoint, photos, Path(folder), runtimes=runtimes, batch=given.batch
                )
        print_rows(rows)
    except AlexNetError as error:
        print(error, file=sys.stderr)
        return 1
    packages = versions("torch", "onnx", "onnxruntime-gpu", "onnxruntime", "openvino")
    line = json.dumps({"tolerance": given.tolerance, "versions": packages, "rows": rows})
    print(line)
    if given.json is not None:
        write_text(given.json, line + "\n")
    return int(any(not row["max_difference"] <= given.tolerance for row in rows))


if __name__ == "__main__":
    with sentences("agreement"):
        sys.exit(main())
