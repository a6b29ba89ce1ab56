"""Local response normalisation: the plain implementation, and (later) the kernels."""
