#!/usr/bin/env bash
# Everything that only a GPU can verify, in one call: JSON results in the folder $1 (default: results).
#
# Needs Python with torch for CUDA, numpy, pillow and safetensors; onnx, onnxruntime-gpu and pytest
# where they are installed. What is missing is named in the results, not passed over.
set -euo pipefail
cd "$(dirname "$0")/.."
out="${1:-results}"
mkdir -p "$out"
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" ORT_DISABLE_TELEMETRY=1
status=0
python3 scripts/gpu_checks.py --device "${DEVICE:-cuda}" --out "$out/gpu.json" || status=$?
python3 scripts/gpu_plugin.py --out "$out/plugin.json" || status=$?
if python3 -c 'import pytest, click, rich' 2>/dev/null; then
  ALEXNET_GPU="${DEVICE:-cuda}" python3 -m pytest -q tests/gpu --junitxml "$out/gpu-tests.xml" || status=$?
else
  echo 'tests/gpu not run: pytest, click or rich is not installed here' | tee "$out/gpu-tests.txt"
fi
exit "$status"
