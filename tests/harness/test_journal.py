"""A journal is whole, append-only, and refused, and left as it was, where it is damaged or another's."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import journal as journals
from harness.inventory import Device
from harness.journal import Footprint
from harness.plan import EMPTY, Plan, Rounds
from harness.session import run
from ofa.errors import FileInvalid
from ofa.files import write_atomic

WRITTEN: list[bytes] = []


@pytest.fixture
def filled(stand_in: Callable[..., Device], plan: Callable[..., Plan], tmp_path: Path) -> Path:
    """Return a journal of a whole run, which was measured once for all tests."""
    path = tmp_path / "kept" / "journal.sqlite"
    if WRITTEN:
        write_atomic(path, WRITTEN[0])
        return path
    with journals.create(path, plan()) as journal:
        run(journal.plan, device=stand_in(), journal=journal)
        journal.add_footprint(EMPTY, Footprint(session="s", peak_rss_kib=9, reason=""))
    WRITTEN.append(path.read_bytes())
    return path


def refused(path: Path) -> FileInvalid:
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    with pytest.raises(FileInvalid) as caught:
        journals.open_journal(path).close()
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before
    assert caught.value.why and caught.value.hints
    return caught.value


def test_it_opens_again_as_it_was(filled: Path, plan: Callable[..., Plan]) -> None:
    with journals.open_journal(filled) as journal:
        assert journal.plan == plan() and journal.complete_rounds() == {0, 1, 2}
        assert len(journal.samples()) == 36 and len(journal.references()) == 6
    assert sorted(file.name for file in filled.parent.iterdir()) == ["journal.sqlite"]


@pytest.mark.parametrize("table", list(journals.TABLES))
def test_nothing_in_it_can_be_changed_or_removed(filled: Path, table: str) -> None:
    with journals.open_journal(filled) as journal:
        column = journal.database.execute(f"SELECT * FROM {table}").description[0][0]
        if journal.database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] == 0:
            pytest.skip(f"no rows in {table} here")
        for change in (f"DELETE FROM {table}", f"UPDATE {table} SET {column} = {column}"):
            with pytest.raises(sqlite3.IntegrityError, match="only ever added"):
                journal.database.execute(change)


@pytest.mark.parametrize("value", [-5, 0, "many", 1.5, None, float("nan")])
def test_a_time_that_is_none_cannot_enter(filled: Path, value: object) -> None:
    with journals.open_journal(filled) as journal, pytest.raises(sqlite3.IntegrityError):
        row = (7, 1, 0, 0, 9, value, 2, 3, 4, 5, 1, 1, 9, 9)
        journal.database.execute(f"INSERT INTO samples VALUES ({', '.join('?' * len(row))})", row)


def test_a_text_file_an_empty_one_and_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    folder.mkdir()
    path = folder / "journal.sqlite"
    for content in (b"", b"hello", b"SQLite format 3\0" + b"\0" * 50, b"SQLite format 3\0" + b"\xff" * 5000):
        path.write_bytes(content)
        refused(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(FileInvalid):
        journals.open_journal(path)
    with pytest.raises(FileInvalid):
        journals.open_journal(folder / "absent.sqlite")


def test_a_truncated_one(filled: Path) -> None:
    content = filled.read_bytes()
    for keep in (50, 4096, len(content) // 2, len(content) - 4096):
        filled.write_bytes(content[:keep])
        refused(filled)


def test_a_scribbled_one(filled: Path) -> None:
    content = bytearray(filled.read_bytes())
    for start in range(4096, len(content), 4096):
        content[start : start + 64] = b"\xaa" * 64
    filled.write_bytes(bytes(content))
    assert "damaged" in refused(filled).why


def test_an_oversized_one(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "MAX_BYTES", 4096)
    assert "4,096" in refused(filled).why


def test_another_programs_database(tmp_path: Path) -> None:
    path = tmp_path / "kept" / "journal.sqlite"
    path.parent.mkdir()
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE bookmarks (url TEXT)")
    database.close()
    assert "something else" in refused(path).why


@pytest.mark.parametrize(
    ("change", "mentioned"),
    [
        ("UPDATE meta SET value = 'journal/4' WHERE name = 'schema'", "journal/4"),
        ("UPDATE meta SET value = replace(value, '\"seed\":5', '\"seed\":6') WHERE name = 'plan'", "hash"),
        ("UPDATE meta SET value = '{' WHERE name = 'plan'", "damaged"),
        ("DELETE FROM meta WHERE name = 'plan_hash'", "damaged"),
        ("UPDATE samples SET item = 4000 WHERE item = 1", "does not know"),
        ("UPDATE samples SET round = 99 WHERE round = 1", "does not know"),
        ("UPDATE sessions SET record = '[1]'", "damaged"),
        ("UPDATE sessions SET record = '{\"environment\": 3}'", "environment"),
        ("UPDATE batches SET record = '{\"timed_s\": 1}'", "damaged"),
        ("UPDATE batches SET record = replace(record, 'timed_s\":', 'timed_s\":1e999, \"x\":')", "damaged"),
        ("UPDATE sessions SET id = 'a b'", "no session"),
        ('UPDATE sessions SET record = replace(record, \'"started_utc":"\', \'"started_utc":"x\')', "damaged"),
        ("UPDATE attempts SET session = 'other'", "no session"),
        ("UPDATE samples SET batch = 5 WHERE item = 1", "no reference"),
        ("DELETE FROM refs WHERE round = 1", "no reference"),
        ("UPDATE ends SET note = x'00ff'", "another kind"),
        ("INSERT INTO failures VALUES (0, 1, -1, 'x')", "does not know"),
        ("DROP TABLE refs", "tables"),
        ("ALTER TABLE samples ADD COLUMN more TEXT", "tables"),
    ],
)
def test_an_edited_one(filled: Path, change: str, mentioned: str) -> None:
    database = sqlite3.connect(filled)
    guards = database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
    with database:
        for name, _ in guards:
            database.execute(f"DROP TRIGGER {name}")
        database.execute(change)
        for _, statement in guards:
            if "refs" not in statement or "DROP" not in change:
                database.execute(statement)
    database.close()
    assert mentioned in refused(filled).why


def test_a_negative_time_slipped_past_the_guards(filled: Path) -> None:
    database = sqlite3.connect(filled)
    database.execute("PRAGMA ignore_check_constraints = ON")
    guards = database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
    with database:
        for name, _ in guards:
            database.execute(f"DROP TRIGGER {name}")
        database.execute("UPDATE samples SET wall_p10_ns = -1 WHERE item = 1 AND round = 1")
        for _, statement in guards:
            database.execute(statement)
    database.close()
    assert "damaged" in refused(filled).why


def test_resuming_another_plans_journal_is_refused(filled: Path, plan: Callable[..., Plan]) -> None:
    before = filled.read_bytes()
    with pytest.raises(FileInvalid, match="journal") as caught:
        journals.resume(filled, plan(seed=6))
    assert "seed: 5 there, 6 here" in caught.value.why and "remove" not in " ".join(caught.value.hints)
    with pytest.raises(FileInvalid) as caught:
        journals.resume(filled, plan(rounds=9, protocol=Rounds(rounds_most=20)))
    assert "rounds: " in caught.value.why and "9 here" in caught.value.why
    assert "another folder" in str(caught.value) and filled.read_bytes() == before


def test_creating_over_a_file_is_refused(filled: Path, plan: Callable[..., Plan]) -> None:
    with pytest.raises(FileInvalid):
        journals.create(filled, plan())


def test_two_sessions_at_once_are_noticed(filled: Path) -> None:
    with journals.open_journal(filled) as first, journals.open_journal(filled) as second:
        rows = {"failures": [(1, "late")]}
        first.end_attempt(0, 9, rows, ended_utc="now")
        with pytest.raises(FileInvalid, match="cannot be used") as caught:
            second.end_attempt(0, 9, rows, ended_utc="now")
        assert "cannot be written" in caught.value.why and second.failures() == {1: "late"}


def test_a_log_left_by_a_removed_journal_is_not_replayed(filled: Path, plan: Callable[..., Plan]) -> None:
    """As after a kill: the write-ahead log holds rows, and only the journal itself is removed."""
    before = journals.open_journal(filled)
    before.begin_session("later", {"environment": {}})
    log = filled.with_name(filled.name + "-wal")
    kept = log.read_bytes()
    before.close()
    filled.unlink()
    log.write_bytes(kept)
    assert kept
    with journals.create(filled, plan()) as journal:
        assert journal.sessions() == [] and journal.samples() == []
