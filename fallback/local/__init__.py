"""The local engine, parent side: a model in a process of its own, and what keeps it there.

    gateway -> LocalEngine -> Supervisor -> WorkerLink  ==pipes==  worker (see worker/__init__.py)
               Resume         Pulse         wire

- `engine.py`: the port. A request outlives its worker: `resume.py` asks the next one to go on
  after the text that is already out, at most twice.
- `supervisor.py`: one worker at a time; spawn, load, watch (`pulse.py`), reap, back off.
- `link.py`: one worker's pipes, from spawn to reaped; `wire.py`: what goes over them.
- `idle.py`: when a worker may rest. `calibrating.py`: has the machine measured when nobody needs
  it, by a process of its own (`worker/calibration.py`), which `report.py` has the words for.
- `settings.py`: all that can be set. `mock.py`: an engine that follows a script, for tests.

Nothing here imports NumPy, Jinja, llama.cpp or llguidance: the proxy's process stays small, and
nothing of theirs can crash it.
"""
