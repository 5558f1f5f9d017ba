"""The local engine on another machine, or in another program: any OpenAI-compatible server.

    gateway -> LocalTier -> RemoteEngine -> Wire ==HTTP==> llama-server, vLLM, Ollama, ...
                            asking.py       server.py

- `engine.py`: the port `Engine`. The server renders the template, parses tool calls and
  constrains the output itself; what it says comes through as it is.
- `asking.py`: one generation -> one request's body: fitted, limited, with the beginning of the
  answer where the server goes on after one. Pure.
- `rest.py`: one answer over two requests, where a server is lost in between. Pure.
- `server.py`: what a server says of itself: its make, its model, its context. Pure.
- `wire.py`: JSON and events over the narrow transport that the composition root hands in.

Nothing is known of the model's file, so its identity has no digest.
"""
