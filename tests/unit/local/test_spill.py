"""States on disk: what is written comes back as it was or not at all."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fallback.local.worker.lease import Spill
from fallback.local.worker.saved_states import key_of
from fallback.local.worker.spill import SpillStore
from fallback.local.worker.spill_writer import SpillWriter
from fallback.local.worker.token_trie import pack

BUDGET = 10_000


def spill(*tokens: int) -> Spill:
    packed = pack(tokens)
    return Spill(key=key_of(packed), tokens=packed)


def store(folder: Path, budget: int = BUDGET, fingerprint: str = "model 1") -> SpillStore:
    return SpillStore(folder, budget, fingerprint)


def only_file(folder: Path) -> Path:
    (path,) = (path for path in folder.rglob("*") if path.is_file())
    return path


def age(folder: Path, key: str, seconds: int) -> None:
    """Make a state look used some time ago."""
    (path,) = folder.rglob(f"{key}*")
    os.utime(path, (1_000_000 - seconds, 1_000_000 - seconds))


def test_written_is_read(tmp_path: Path) -> None:
    """A state comes back as it was, and a later run knows of it."""
    first = store(tmp_path)
    assert first.write(spill(1, 2, 3), b"state") == ()
    assert first.read(spill(1, 2, 3).key) == b"state"
    again = store(tmp_path)
    assert again.load_index() == (spill(1, 2, 3),)
    assert again.read(spill(1, 2, 3).key) == b"state"


def test_written_again(tmp_path: Path) -> None:
    """The last state written under a key counts."""
    here = store(tmp_path)
    here.write(spill(1), b"old")
    here.write(spill(1), memoryview(b"new"))
    assert here.read(spill(1).key) == b"new"
    assert here.load_index() == (spill(1),)


def test_drop(tmp_path: Path) -> None:
    """What is dropped is gone; dropping what is not there is nothing."""
    here = store(tmp_path)
    here.write(spill(1), b"state")
    here.drop(spill(1).key)
    here.drop(spill(2).key)
    assert here.read(spill(1).key) is None
    assert here.load_index() == ()


def test_nothing_there(tmp_path: Path) -> None:
    """A folder that does not exist holds nothing."""
    here = store(tmp_path / "none")
    assert here.load_index() == ()
    assert here.read(spill(1).key) is None


def test_for_the_owner_alone(tmp_path: Path) -> None:
    """Nobody else may read what clients have said."""
    folder = tmp_path / "states"
    folder.mkdir(mode=0o755)
    store(folder).write(spill(1), b"state")
    path = only_file(folder)
    modes = [stat.S_IMODE(each.stat().st_mode) for each in (path, path.parent, folder)]
    assert modes == [0o600, 0o700, 0o700]


def test_another_fingerprint(tmp_path: Path) -> None:
    """A state of another model is not known, not read, and not deleted while there is room."""
    store(tmp_path, fingerprint="model 2").write(spill(1), b"state")
    here = store(tmp_path)
    assert here.load_index() == ()
    assert here.read(spill(1).key) is None
    assert store(tmp_path, fingerprint="model 2").read(spill(1).key) == b"state"


def test_the_oldest_go_first(tmp_path: Path) -> None:
    """What was used longest ago makes room, and the writer is told of its own."""
    here = store(tmp_path)
    for n in range(3):
        here.write(spill(n), bytes(3000))
        age(tmp_path, spill(n).key, 100 - n)
    here.read(spill(0).key)
    assert here.write(spill(3), bytes(3000)) == (spill(1).key,)
    assert {each.key for each in here.load_index()} == {spill(n).key for n in (0, 2, 3)}


def test_other_fingerprints_age_out(tmp_path: Path) -> None:
    """States of another model make room when they are the oldest."""
    other = store(tmp_path, fingerprint="model 2")
    other.write(spill(1), bytes(6000))
    age(tmp_path, spill(1).key, 100)
    assert store(tmp_path).write(spill(2), bytes(6000)) == ()
    assert other.load_index() == ()


def test_a_smaller_budget(tmp_path: Path) -> None:
    """Where the budget was lowered, the oldest go at the start."""
    here = store(tmp_path)
    for n in range(3):
        here.write(spill(n), bytes(3000))
        age(tmp_path, spill(n).key, 100 - n)
    assert store(tmp_path, budget=4000).load_index() == (spill(2),)


def test_too_large(tmp_path: Path) -> None:
    """A state larger than the budget is not kept, and pushes nothing out."""
    here = store(tmp_path)
    here.write(spill(1), b"state")
    assert here.write(spill(2), bytes(BUDGET)) == (spill(2).key,)
    assert here.load_index() == (spill(1),)


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last gibibyte of a disk is left to others."""
    usage = shutil.disk_usage(tmp_path)._replace(free=(1 << 30) + 100)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    here = store(tmp_path)
    assert here.write(spill(1), bytes(200)) == (spill(1).key,)
    assert here.write(spill(2), bytes(10)) == ()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """Where nothing can be written, nothing is kept and nothing raised."""
    (tmp_path / "file").write_text("no folder")
    here = store(tmp_path / "file" / "states")
    assert here.write(spill(1), b"state") == (spill(1).key,)
    assert here.load_index() == ()


def test_what_was_not_finished(tmp_path: Path) -> None:
    """A file that a crash left half written is no state, counts, and ages out."""
    here = store(tmp_path)
    here.write(spill(1), b"state")
    path = only_file(tmp_path)
    half = path.with_suffix(".1234.part")
    path.rename(half)
    half.write_bytes(bytes(9000))
    os.utime(half, (1, 1))
    assert here.load_index() == ()
    assert half.exists()
    assert here.write(spill(2), bytes(3000)) == ()
    assert not half.exists()


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    """In a folder that holds other files too, only states are counted and deleted."""
    foreign = tmp_path / "models" / "model.gguf"
    foreign.parent.mkdir()
    foreign.write_bytes(bytes(BUDGET))
    os.utime(foreign, (1, 1))
    here = store(tmp_path)
    assert here.write(spill(1), b"state") == ()
    assert here.load_index() == (spill(1),)
    assert foreign.exists()


@given(data=st.data())
def test_damage_is_found(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever byte is changed, cut off or added, the state is gone, never wrong."""
    folder = tmp_path_factory.mktemp("states")
    here = store(folder)
    here.write(spill(1, 2, 3), b"the state")
    path = only_file(folder)
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    change = data.draw(st.integers(1, 255))
    flipped = whole[:at] + bytes([whole[at] ^ change]) + whole[at + 1 :]
    path.write_bytes(data.draw(st.sampled_from([flipped, whole[:at], whole + flipped[:1]])))
    assert here.read(spill(1, 2, 3).key) is None
    assert not path.exists()


def test_another_states_bytes(tmp_path: Path) -> None:
    """A whole state under a wrong name is not taken for that name's."""
    here = store(tmp_path)
    here.write(spill(1), b"one")
    path = only_file(tmp_path)
    path.rename(path.with_stem(spill(2).key))
    assert here.read(spill(2).key) is None


def test_writer(tmp_path: Path) -> None:
    """The writer does what it is told in order, and says what it has done."""
    here = store(tmp_path)
    writer = SpillWriter(here)
    writer.write(spill(1), b"one")
    writer.write(spill(2), bytes(BUDGET))
    writer.drop([spill(1).key])
    assert writer.close(timeout_s=10)
    assert list(writer.done()) == [(spill(1), ()), (spill(2), (spill(2).key,))]
    assert here.load_index() == ()


def test_writer_backlog(tmp_path: Path) -> None:
    """No more states wait than the backlog, and one that was written makes room."""
    writer = SpillWriter(store(tmp_path), backlog=0)
    assert not writer.has_room
    with pytest.raises(ValueError, match="waiting=0/0"):
        writer.write(spill(1), b"state")
    assert writer.close(timeout_s=10)
    writer = SpillWriter(store(tmp_path), backlog=1)
    writer.write(spill(1), b"state")
    assert writer.close(timeout_s=10)
    assert writer.has_room
