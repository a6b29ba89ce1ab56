"""alexnet-bench: how fast it all is."""
