"""The tokens of the harmony format that stand in an answer.

Source: https://github.com/openai/harmony/blob/main/docs/format.md#special-tokens
"""

from __future__ import annotations

START = "<|start|>"
END = "<|end|>"
MESSAGE = "<|message|>"
CHANNEL = "<|channel|>"
CONSTRAIN = "<|constrain|>"
CALL = "<|call|>"
RETURN = "<|return|>"
MARKS = frozenset({START, END, MESSAGE, CHANNEL, CONSTRAIN, CALL, RETURN})
