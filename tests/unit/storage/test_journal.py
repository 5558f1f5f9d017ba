"""What outlives a process that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fallback.storage.journal import BEGUN, DONE, Journal, Segment, place_for

CHILD = """
import os, signal, sys
from pathlib import Path
from fallback.storage.journal import BEGUN, DONE, Journal
journal = Journal(Path(sys.argv[1]))
segment = journal.segment()
segment.append(BEGUN, b'{"id":"rcp_1"}')
segment.append(BEGUN, b'{"id":"rcp_2"}')
segment.append(DONE, b'{"id":"rcp_1","status":200}')
print("written", flush=True)
signal.pause()
"""


def test_what_a_killed_process_leaves_is_found(tmp_path: Path) -> None:
    """Its receipts, and one for each request that it had begun and not answered."""
    place = tmp_path / "ours" / "journals"
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(place)], stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "written\n"
        journal = Journal(place)
        assert list(journal.left_behind()) == [], "its owner lives"
        os.kill(child.pid, signal.SIGKILL)
    ((left, folder),) = journal.left_behind()
    assert left.receipts == (b'{"id":"rcp_1","status":200}',)
    assert left.unanswered == (b'{"id":"rcp_2"}',)
    journal.forget(folder)
    assert list(journal.left_behind()) == []
    journal.close(keep=False)
    assert list(place.iterdir()) == []


def test_half_a_line_does_not_count(tmp_path: Path) -> None:
    """What was being written when the process died is not read."""
    first = Journal(tmp_path / "ours" / "journals")
    segment = first.segment()
    segment.append(DONE, b'{"id":"rcp_1"}')
    segment._map[segment._at : segment._at + 6] = b'+{"id"'
    first.close(keep=True)
    second = Journal(tmp_path / "ours" / "journals")
    ((left, _),) = second.left_behind()
    assert left == ((b'{"id":"rcp_1"}',), ())


def test_a_full_segment_says_so(tmp_path: Path) -> None:
    """A line is written whole or not at all."""
    segment = Segment(tmp_path / "00000001", 32)
    assert segment.append(BEGUN, b"x" * 20)
    assert not segment.append(DONE, b"y" * 20)
    assert segment.append(DONE, b"z" * 8)
    assert repr(segment) == "<Segment 00000001 32/32>"
    segment.remove()
    assert list(tmp_path.iterdir()) == []


def test_others_cannot_read_or_plant(tmp_path: Path) -> None:
    """The folders are for their owner alone; one that others may write to is not used."""
    journal = Journal(tmp_path / "ours" / "journals")
    assert (tmp_path / "ours").stat().st_mode & 0o077 == 0
    journal.close(keep=False)
    (tmp_path / "ours").chmod(0o777)
    with pytest.raises(OSError, match="others may write"):
        Journal(tmp_path / "ours" / "journals")


def test_each_database_has_its_own_place() -> None:
    """Services of different databases do not take each other's receipts."""
    assert place_for("/a.db") == place_for("/a.db")
    assert place_for("/a.db") != place_for("/b.db")
