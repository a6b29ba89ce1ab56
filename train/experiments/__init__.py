"""The paper's claims, shown again on the hardware at hand: an experiment a file."""
