"""How requests follow each other, by the names that benchmarks of inference use."""

from typing import Literal

Scenario = Literal["server", "single-stream", "multi-stream", "offline"]
CLIENTS: dict[str, int] = {"single-stream": 1, "multi-stream": 8, "offline": 16}
"""Clients of the scenarios in which each waits for its answer; `server` waits for none."""
