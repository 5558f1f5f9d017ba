"""The parts of `planted.py`."""
