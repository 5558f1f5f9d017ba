"""What can go wrong with model files."""

from __future__ import annotations


class ModelStoreError(Exception):
    """A model cannot be had or is not what it should be.

    The message names the file, what was expected, what is there, and the next command.
    """
