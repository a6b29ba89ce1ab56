"""alexnet-train: prepare photos, fit a network, evaluate it."""
