"""The network of Krizhevsky, Sutskever and Hinton (NIPS 2012), and what every room of it shares."""

__version__ = "0.1.0"
