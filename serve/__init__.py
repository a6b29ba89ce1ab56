"""The HTTP service, and alexnet-label for photos at rest."""
