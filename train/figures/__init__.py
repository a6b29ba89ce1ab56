"""Pictures of a trained network: its kernels, its answers, how it learnt, what it confuses."""
