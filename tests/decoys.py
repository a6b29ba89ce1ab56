"""A folder of a person's own files whose names are modules of ours, or of what we use."""

import subprocess
import sys
from pathlib import Path

BIN = Path(sys.executable).parent
NAMES = (
    *("train", "export", "serve", "bench", "alexnet"),
    *("torch", "onnx", "onnxruntime", "openvino", "numpy", "PIL", "click", "bentoml", "uvicorn"),
    # Python's own: multiprocessing begins with these.
    *("random", "queue", "socket", "signal", "statistics", "types"),
)


def decoy_folder(folder):
    """Fill a new folder with files that end whoever runs them."""
    folder.mkdir()
    for name in NAMES:
        (folder / f"{name}.py").write_text(f"raise SystemExit('the decoy {name}.py was run')\n")
    return folder


def run_in(folder, program, *words, timeout=300, **options):
    """An installed command that is called in a folder, and must end with 0."""
    done = subprocess.run(
        [BIN / program, *map(str, words)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=timeout,
        **options,
    )
    assert "decoy" not in done.stdout + done.stderr
    assert done.returncode == 0, done.stderr
    return done
