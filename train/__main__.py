"""`python -m train`: the same as `alexnet-train`, so that `torchrun -m train` works."""

from train.cli import main

if __name__ == "__main__":
    main(prog_name="alexnet-train")
