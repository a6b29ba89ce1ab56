"""alexnet-export: checkpoints to ONNX graphs, and the proof that they agree."""
