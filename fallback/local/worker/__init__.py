"""The process that owns the model: `python -m fallback.local.worker`.

    reader --errands--> intake --arrivals--> decoder (the main thread)
       `--------------- cancels ----------------^

- `main.py`: hear the settings, verify (`modelfile.py`), load, say so, serve.
- reader: hears the parent (`channel.py`), answers pings, ends the process when the parent is gone.
- `intake.py`: renders the chat template, fits, tokenizes, compiles grammars: `prepared.py`.
- `decoder.py`: the loop. `scheduler.py` decides what to compute (pure), `llama.py` computes it,
  `constraint.py` holds it to a grammar, `transcript.py` makes text of it.
- `loading.py`: from settings to a model and the way to run it. `tuning.py`: what there is to
  decide (pure), `memory.py`: what fits (pure), `looking.py`: what the machine has.
- `calibration.py`: another process, which measures; `calibration_plan.py`: what to measure and what
  to take (pure), `calibration_store.py`: what is remembered, `requantize.py`: faster files.
- `desk.py`: what the threads share. `sampling.py`: the numbers.

A crash is the way out of anything that cannot be repaired here: the supervisor starts another
worker, and answers go on where they were.
"""
