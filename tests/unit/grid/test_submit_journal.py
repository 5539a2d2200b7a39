"""The journal of submits: whatever happens to the program, no job of the grid is forgotten."""

from __future__ import annotations

import json
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import aiomig
from aiomig import LocalError, SpecError
from aiomig._grid import submit_journal as module
from aiomig._grid.submit_journal import SubmitJournal, folder_of
from aiomig._spec.mrsl import Description
from aiomig._spec.plan import Plan
from tests.unit.grid.journals import files, full

if TYPE_CHECKING:
    from collections.abc import Iterable


def plan(marker: str, **keywords: str) -> Plan:
    return Plan(
        Description({"EXECUTE": ("true",), **{name: (value,) for name, value in keywords.items()}}), marker=marker
    )


def journal(
    folder: Path | None, owner: str = "me", *, required: bool = True, compact_at: int = 1 << 16
) -> SubmitJournal:
    opened = SubmitJournal(folder, lambda: owner, required=required, compact_at=compact_at)
    opened.open()
    return opened


def send(records: SubmitJournal, *markers: str, settled: Iterable[str] = ()) -> None:
    with records.sending([plan(marker) for marker in markers]):
        records.settle(settled)


def die(records: SubmitJournal) -> None:
    """What happens to the file if the program is killed."""
    assert records._log is not None
    records._log.close()
    records._log = None


def markers(records: SubmitJournal) -> list[str]:
    return [each.marker for each in records.unconfirmed()]


# -- the file


def test_what_is_sent_is_on_the_disk_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def sync(descriptor: int) -> None:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            synced.append(os.pread(descriptor, 1 << 16, 0))
        else:
            folders.append(len(files(tmp_path)))

    synced: list[bytes] = []
    folders: list[int] = []
    monkeypatch.setattr(os, "fsync", sync)
    records = journal(tmp_path / "a" / "b")
    with records.sending([plan("m1", JOBNAME="fit-7", PROJECT="mine"), plan("m2")]):
        assert b'"m1"' in synced[0]
        assert b'"m2"' in synced[0]
        assert records.unconfirmed() == []  # the submit is in progress
    first, second = records.unconfirmed()
    assert (first.marker, first.name, first.project, first.job_ids) == ("m1", "fit-7", "mine", ())
    assert (second.marker, second.name, second.project) == ("m2", "", "")
    assert datetime.now(UTC) - first.sent_at < timedelta(minutes=1)
    assert (len(synced), folders) == (1, [1])
    (path,) = files(tmp_path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    records.close()


def test_a_session_that_leaves_nothing_in_doubt_leaves_no_file(tmp_path: Path) -> None:
    records = journal(tmp_path)
    assert files(tmp_path) == []
    send(records, "m1", "m2", settled=["m1", "m2"])
    assert len(files(tmp_path)) == 1
    assert records.unconfirmed() == []
    records.close()
    assert files(tmp_path) == []


def test_the_next_session_takes_over_what_the_dead_have_left(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(3):
        records = journal(tmp_path / str(number))
        send(records, f"m{number}", f"done{number}", settled=[f"done{number}"])
        die(records)
    (folder,) = {path.parent.name for path in files(tmp_path)}
    for number in (1, 2):
        for path in files(tmp_path / str(number)):
            path.rename(tmp_path / "0" / folder / path.name)
    caplog.clear()
    records = journal(tmp_path / "0")
    assert markers(records) == ["m0", "m1", "m2"]
    assert "3 submits of earlier sessions" in caplog.text
    assert len(files(tmp_path)) == 1
    records.settle(["m1"])
    send(records, "m3")
    records.close()
    again = journal(tmp_path / "0")
    assert markers(again) == ["m0", "m2", "m3"]
    again.settle(markers(again))
    again.close()
    assert files(tmp_path) == []


def test_sessions_that_live_keep_their_own(tmp_path: Path) -> None:
    first, second = journal(tmp_path), journal(tmp_path)
    send(first, "m1")
    send(second, "m2")
    third = journal(tmp_path)
    assert (markers(first), markers(second), markers(third)) == (["m1"], ["m2"], [])
    die(first)
    fourth = journal(tmp_path)
    assert markers(fourth) == ["m1"]
    for each in (second, third, fourth):
        each.close()


def test_each_grid_and_user_has_its_own(tmp_path: Path) -> None:
    mine = journal(tmp_path, "https://a /CN=me")
    send(mine, "m1")
    mine.close()
    assert markers(journal(tmp_path, "https://a /CN=you")) == []
    assert markers(journal(tmp_path, "https://a /CN=me")) == ["m1"]


def test_wherever_a_crash_cuts_the_file_off_what_is_whole_counts(tmp_path: Path) -> None:
    records = journal(tmp_path)
    send(records, "m1", "m2", settled=["m1"])
    records.made([("m2", "7_1")])
    send(records, "m3")
    (path,) = files(tmp_path)
    data = path.read_bytes()
    die(records)
    ends = [data.index(part) + len(part) for part in (b'"m1","at"', b'"m2","at"', b'"settled":"m1"', b'"made":"m2"')]
    ends = [data.index(b"\n", end) for end in ends]
    third = data.index(b"\n", data.index(b'"m3"'))
    for size in range(len(data) + 1):
        path.write_bytes(data[:size])
        records = journal(tmp_path)
        expected = ["m1"] * (ends[0] <= size < ends[2]) + ["m2"] * (ends[1] <= size) + ["m3"] * (third <= size)
        assert markers(records) == expected, size
        assert all(entry.job_ids == (("7_1",) if ends[3] <= size else ()) for entry in records.unconfirmed()[:1]), size
        if records._log is not None:
            die(records)
    # A line that was cut off does not spoil the next one.
    path.write_bytes(data[: data.index(b'"m3"') + 2])
    after = journal(tmp_path)
    assert markers(after) == ["m2"]
    send(after, "m4")
    die(after)
    last = journal(tmp_path)
    assert markers(last) == ["m2", "m4"]
    last.close()


ROW = '{"submit":"m1","at":1,"name":"","project":""}'


@pytest.mark.parametrize(
    "line",
    ["{}", '{"m":1}', '{"submit":"x","at":1e99,"name":"","project":""}', '{"submit":"x","at":"y"}', '{"made":"m1"}'],
)
def test_lines_that_mean_nothing_are_passed_over(line: str) -> None:
    first = aiomig.Unconfirmed("m1", "", "", datetime.fromtimestamp(1, UTC))
    assert module.read_rows(map(json.loads, [ROW, line])) == {"m1": first}


def test_files_of_older_versions_are_read() -> None:
    lines = [
        '{"m":"m1","t":1,"n":"fit","p":"mine"}',
        '{"m":"m2","t":2,"n":"","p":""}',
        '{"m":"m3","t":3,"n":"","p":""}',
        '{"m":"m2","id":"7_1"}',
        '{"m":"m3","x":1}',
    ]
    first = aiomig.Unconfirmed("m1", "fit", "mine", datetime.fromtimestamp(1, UTC))
    assert module.read_rows(map(json.loads, lines)) == {"m1": first}


def test_a_job_is_in_the_journal_until_it_is_confirmed_or_canceled(tmp_path: Path) -> None:
    records = journal(tmp_path)
    with records.sending([plan("m1"), plan("m2")]):
        records.made([("m1", "7_1"), ("m2", "8_1")])
    first, second = records.unconfirmed()
    assert (first.job_ids, second.job_ids) == (("7_1",), ("8_1",))
    assert records.settle(["m1"]) == [first]
    records.settle_jobs(["8_1", "9_1"])
    assert records.unconfirmed() == []
    records.reopen([first])
    records.reopen([first])
    die(records)
    records = journal(tmp_path)
    assert records.unconfirmed() == [first]
    records.settle_jobs(["7_1"])
    records.close()
    assert files(tmp_path) == []


def test_the_file_stays_small(tmp_path: Path) -> None:
    records = journal(tmp_path, compact_at=4096)
    send(records, "lost")
    for number in range(200):
        send(records, f"m{number}", settled=[f"m{number}"])
        assert sum(path.stat().st_size for path in files(tmp_path)) < 5000
    assert len(files(tmp_path)) == 1
    die(records)
    records = journal(tmp_path, compact_at=4096)
    assert markers(records) == ["lost"]
    records.settle(["lost"])
    for number in range(100):
        send(records, f"m{number}", settled=[f"m{number}"])
        assert sum(path.stat().st_size for path in files(tmp_path)) < 5000
    records.close()


def test_a_file_of_open_submits_is_not_rewritten_all_the_time(tmp_path: Path) -> None:
    records = journal(tmp_path, compact_at=1000)
    names = set()
    for number in range(1000):
        with records.sending([plan(f"m{number}")]):
            records.made([(f"m{number}", f"{number}_1")])
        names |= {path.name for path in files(tmp_path)}
    assert len(names) < 12
    records.settle(f"m{number}" for number in range(1000))
    records.close()


def test_a_full_disk_is_said_before_anything_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = journal(tmp_path)
    send(records, "m1")
    (path,) = files(tmp_path)
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        full(patch)
        with (
            pytest.raises(LocalError, match=r"No space left on device; make room.*journal=False"),
            records.sending([plan("m2")]),
        ):
            pytest.fail("it may not be sent")
        assert path.read_bytes() == before
    assert markers(records) == ["m1"]
    records.close()


def test_an_id_is_not_lost_over_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    records = journal(tmp_path)
    with records.sending([plan("m1")]), monkeypatch.context() as patch:
        full(patch)
        records.settle(["m1"])
    assert "cannot be written" in caplog.text
    assert markers(records) == []
    records.close()


def test_a_folder_that_is_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    place = tmp_path / "file"
    place.write_text("")
    with pytest.raises(
        LocalError, match=r"journal of submits in .* cannot be used: Not a directory; make room, give another"
    ):
        journal(place)
    records = journal(place, required=False)
    assert "no journal of submits is kept" in caplog.text
    send(records, "m1")
    assert markers(records) == ["m1"]
    records.close()


@pytest.mark.parametrize("given", ["", 7, b"x", "a\0b", ["x"]])
def test_what_is_no_place_for_a_journal(given: Any) -> None:
    with pytest.raises(SpecError) as caught:
        folder_of(given)
    assert caught.value.faults[0].field == "journal"
    assert "False" in caught.value.faults[0].remedy


def test_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert folder_of(True) == (tmp_path / "aiomig" / "submits", False)
    assert folder_of(False) == folder_of(None) == (None, False)
    assert folder_of("~/x") == (Path("~/x").expanduser(), True)
