"""`python -m export`: the same as `alexnet-export`."""

from export.cli import main

main(prog_name="alexnet-export")
