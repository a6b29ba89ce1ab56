"""`python -P -m train`: the same as `alexnet-train`."""

from train.cli import main

if __name__ == "__main__":
    main(prog_name="alexnet-train")
