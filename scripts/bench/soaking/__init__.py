"""Ten minutes of everything at once: the parts of `scripts/bench/soak.py`.

mix      who asks for what (pure, seeded)
clients  those who ask, wait, leave
killer   ends the worker now and then
rest     the engine alone: the waits to compare with, whether everything is free again
tally    what became of the requests -> figures, verdicts, Markdown (pure)
"""
