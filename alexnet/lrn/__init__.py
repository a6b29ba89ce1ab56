"""Local response normalisation: the plain implementation, and the operator of the network."""
