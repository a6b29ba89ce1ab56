"""`python -m bench` is `alexnet-bench`."""

from bench.cli import main

if __name__ == "__main__":
    main(prog_name="alexnet-bench")
