"""The parts of the story that `gateway` tells: what is known, one upstream's turn, the waiting,
the sending, the refusing."""
