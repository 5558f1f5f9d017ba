"""The command line: one file per command. Imports stay inside the commands, since `serve` is
to answer within a second, `status` at once and `status --line` before a shell's prompt."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """The entry point of the package."""
    if sys.argv[1:3] == ["status", "--line"]:
        from fallback.cli import line

        # Without the library for commands, whose import takes longer than all the rest.
        sys.exit(line.show(sys.argv[3:], os.environ))
    from fallback.cli.commands import app

    app()
