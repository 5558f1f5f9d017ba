"""llama.cpp through its low-level API: the only package that imports it.

Rules of this package:
- `Model` (weights, vocabulary, metadata) may be used from any thread. `Llama` (the context and
  its sequences) belongs to the decode thread.
- Never copy a part of a sequence in a split memory: llama.cpp aborts.
- The batch lies in arrays of NumPy's, filled anew for each step; logits are computed only where
  a token is sampled. Python's share is about 2 % of a step.
- Asserts in llama.cpp abort the process. That is why this is a process of its own: what cannot
  be repaired here raises, the worker ends, and the supervisor starts another.
"""
