"""The one version that all four distributions share."""

__version__ = "0.1.0"
