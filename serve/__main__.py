"""`python -m serve` is `alexnet-label`; the service itself is started by `bentoml serve`."""

from serve.label import main

if __name__ == "__main__":
    main(prog_name="alexnet-label")
