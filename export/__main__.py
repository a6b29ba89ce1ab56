"""`python -m export` is `alexnet-export`."""

from export.cli import main

if __name__ == "__main__":
    main(prog_name="alexnet-export")
