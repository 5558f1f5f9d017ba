"""The pure core: no I/O, no clock, no randomness, no environment. Time is an argument."""
