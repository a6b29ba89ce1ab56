"""`alexnet-bench`: measurements that can be repeated and compared."""

from __future__ import annotations

import click

from alexnet.console import Commands
from bench.floor_command import floor
from bench.label_command import label
from bench.latency_command import latency
from bench.peers_command import peers
from bench.serve_command import serve
from bench.throughput_command import throughput
from bench.train_command import train


@click.group(cls=Commands)
@click.version_option(package_name="alexnet")
def main() -> None:
    """Measure what the models do on this machine."""


main.add_command(latency)
main.add_command(throughput)
main.add_command(serve)
main.add_command(train)
main.add_command(label)
main.add_command(floor)
main.add_command(peers)
