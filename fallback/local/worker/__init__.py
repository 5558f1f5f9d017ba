"""The process that owns the model: `python -m fallback.local.worker`.

    reader --errands--> intake --arrivals--> decoder (the main thread)
       `--------------- cancels ----------------^

- `main.py`: hear the settings, verify (`modelfile.py`), load, say so, serve.
- reader: hears the parent (`channel.py`), answers pings, ends the process when the parent is gone.
- `intake.py`: renders the chat template, fits, tokenizes, compiles grammars: `prepared.py`.
- `decoder.py`: the loop. `scheduler.py` decides what to compute (pure), `llama.py` computes it,
  `constraint.py` holds it to a grammar, `transcript.py` makes text of it.
- `desk.py`: what the threads share. `sampling.py`: the numbers.

A crash is the way out of anything that cannot be repaired here: the supervisor starts another
worker, and answers go on where they were.
"""
