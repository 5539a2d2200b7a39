"""The services of a grid beyond the conformance suite: requests, odd responses, and crontab lines."""

from __future__ import annotations

import json
import logging
from datetime import UTC, date, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest

import aiomig
from aiomig import CronEntry, FileNotFound, ProtocolError, ServerError, SharedFolder, SpecError
from aiomig._grid.services.account import named_rows
from aiomig._grid.services.service import Service, moment, texts, words
from aiomig.testing import Site
from tests.clocks import anyio_backend
from tests.virtual import world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

__all__ = ["anyio_backend"]

WORLD = Site(csrf="FULL", transfer_time=600.0)


def answering(monkeypatch: pytest.MonkeyPatch, **answers: list[dict[str, Any]]) -> None:
    """Replace the responses of operations of the fake grid."""

    async def call(self: Service, operation: str, /, **fields: object) -> list[dict[str, Any]]:
        return answers[operation]

    monkeypatch.setattr(Service, "_call", call)


# -- share links


async def test_what_a_share_link_sends() -> None:
    async with world(WORLD) as (grid, mig):
        await mig.files.mkdir("a")
        east = timezone(timedelta(hours=2))
        share = await mig.shares.create(
            "/a/", write=True, expires=datetime(2099, 1, 1, 1, tzinfo=east), invites=["x@example.org"], message="look"
        )
        sent = grid.requests[-1].parameters
        assert sent == {
            "action": ("create",),
            "path": ("a",),
            "read_access": ("on",),
            "write_access": ("on",),
            "expire": ("2098-12-31 23:00:00",),
            "invite": ("x@example.org",),
            "msg": ("look",),
            "output_format": ("json",),
        }
        assert share.expires_at == datetime(2098, 12, 31, 23, tzinfo=UTC)
        assert share.invites == ("x@example.org",)
        for_ever = await mig.shares.change(share, expires=None)
        assert (for_ever.expires_at, for_ever.read, for_ever.write) == (None, True, True)
        with pytest.raises(SpecError, match="without any right"):
            await mig.shares.change(share, read=False, write=False)
        with pytest.raises(ServerError, match="No such sharelink: nosuch"):
            await mig.shares.delete("nosuch")
        with pytest.raises(ServerError, match="is not available to you"):
            await mig.shares.create("missing")


@pytest.mark.parametrize("ends", ["-1", "", "never", None, "2099-02-01", "Thu Jan  1 00:00:00 2099"])
async def test_a_link_without_the_wanted_end_is_deleted(ends: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[object] = []

    async def call(self: Service, operation: str, /, **fields: object) -> list[dict[str, Any]]:
        sent.append(fields["action"])
        row = {"share_id": "s", "path": "a", "access": ["read"], "expire": ends}
        return [{"object_type": "sharelinks", "sharelinks": [row] if fields["action"] == "create" else []}]

    monkeypatch.setattr(Service, "_call", call)
    async with world(WORLD) as (_, mig):
        if ends and ends.endswith("2099"):  # any format of the right time is accepted
            assert (await mig.shares.create("a", expires=date(2099, 1, 1))).id == "s"
            return
        with pytest.raises(ServerError, match="did not accept the expiry 2099-01-01"):
            await mig.shares.create("a", expires=date(2099, 1, 1))
        assert sent == ["show", "create", "delete"]


async def test_a_path_stays_as_it_is() -> None:
    async with world(WORLD) as (_, mig):
        await mig.files.write_text("two  blanks/R&amp;D  1.txt", "x")
        share = await mig.shares.create("two  blanks")
        assert share.path == "two  blanks"
        archive = await mig.archives.create("n", "two  blanks")
        assert [file.path for file in archive.files] == ["two  blanks/R&amp;D  1.txt"]
        transfer = await mig.transfers.export_to("two  blanks", "https://example.org/R&amp;D  1")
        assert (transfer.sources, transfer.destination) == (("two  blanks",), "/R&amp;D  1")


@pytest.mark.parametrize(
    "url", ["", "https://example.org", "http://example.org/share_redirect/abc", "ftp://x/y/z", "/a/b"]
)
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(SpecError, match="not the URL of a share link"):
        SharedFolder(url)


def test_a_shared_folder_hides_its_id() -> None:
    assert "Zk3j" not in repr(SharedFolder("https://sid.example.org/sharelink/Zk3j"))


async def pieces(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def test_a_page_is_not_a_file() -> None:
    pages = [httpx.Response(200, content=pieces(b"<html>log in</html>")), httpx.Response(503, content=pieces(b"busy"))]
    folder = SharedFolder("https://x.org/share_redirect/a", transport=httpx.MockTransport(lambda request: pages.pop(0)))
    with pytest.raises(ProtocolError, match="a page, not the file"):
        await folder.read_bytes("a")
    with pytest.raises(ServerError, match="HTTP 503"):
        await folder.read_bytes("a")


async def test_an_upload_that_is_not_whole_is_an_error() -> None:
    uploaded = {"object_type": "uploadfiles", "files": [{"name": "a", "size": 1}]}

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=pieces(json.dumps([uploaded]).encode()))

    folder = SharedFolder("https://x.org/share_redirect/a", transport=httpx.MockTransport(answer))
    with pytest.raises(ServerError, match="b did not arrive completely"):
        await folder.put(b"12", "b")
    with pytest.raises(ServerError, match="could not be moved to its place"):
        await folder.put(b"1", "b")


async def test_a_single_file_is_shared(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with world(WORLD) as (grid, mig):
        await mig.files.write_text("a.txt", "text")
        share = await mig.shares.create("a.txt")
        folder = SharedFolder(share.url, transport=grid.transport(""))
        assert await folder.read_bytes() == b"text"
        await mig.shares.delete(share)
        with pytest.raises(FileNotFound, match="the link has expired"):
            await folder.read_bytes()
        assert share.id not in caplog.text  # anyone who knows it has the rights


async def test_a_missing_local_file_and_authority_are_errors_of_aiomig(tmp_path: Any) -> None:
    folder = SharedFolder("https://localhost:1/share_redirect/a", ca=tmp_path / "missing.pem")
    with pytest.raises(FileNotFound, match="on this machine"):
        await folder.put(tmp_path / "missing", "a")
    with pytest.raises(aiomig.ConfigError, match=r"missing\.pem"):
        await folder.read_bytes("a")


# -- archives


async def test_the_first_archive_of_a_user() -> None:
    async with world(WORLD) as (grid, mig):
        await mig.files.write_text("a.txt", "a")
        with pytest.raises(ServerError, match="Errno 2"):
            await mig.call("createfreeze", flavor="freeze", freeze_name="n", freeze_copy_0="a.txt")
        archive = await mig.archives.create("n", "a.txt", author="Ada", publish=True, flavor="backup")
        sent = next(request.parameters for request in reversed(grid.requests) if request.operation == "createfreeze")
        assert sent["freeze_publish"] == ("on",)
        assert "freeze_department" not in sent
        assert archive.flavor == "backup"
        assert await mig.archives.restore(archive, "back/there") == "back/there"
        assert await mig.files.read_text("back/there/a.txt") == "a"
        with pytest.raises(FileNotFound):
            await mig.archives.create("n", "missing")
        with pytest.raises(ServerError, match="No such archive"):
            await mig.archives.show(archive.id, flavor="phd")
        await mig.archives.delete(archive)
        with pytest.raises(ServerError, match="No such archive"):
            await mig.archives.delete(archive)
        for ask in (mig.archives.show(archive), mig.archives.restore(archive, "there")):
            with pytest.raises(FileNotFound, match="there is no archive with this id"):
                await ask
        assert not await mig.files.exists("there")


async def test_a_download_has_hidden_files(tmp_path: Any) -> None:
    async with world(WORLD) as (_, mig):
        await mig.files.write_text("d/.hidden", "h")
        await mig.files.write_text(".top", "t")
        archive = await mig.archives.create("n", ["d", ".top"])
        await mig.archives.download(archive, tmp_path)
        assert (tmp_path / "d/.hidden").read_text() == "h"
        assert (tmp_path / ".top").read_text() == "t"


async def test_a_download_leaves_nothing_in_the_home(tmp_path: Any) -> None:
    async with world(WORLD) as (_, mig):
        await mig.files.write_text("a.txt", "a")
        archive = await mig.archives.create("n", "a.txt")
        (tmp_path / "there").write_text("in the way")
        with pytest.raises(aiomig.MigError):
            await mig.archives.download(archive, tmp_path / "there")
        assert await mig.files.ls("aiomig_jobs") == []


async def test_a_cancelled_download_leaves_nothing_in_the_home(tmp_path: Any) -> None:
    async with world(WORLD) as (grid, mig):
        await mig.files.write_text("a.txt", "a")
        archive = await mig.archives.create("n", "a.txt")
        grid.faults.add("cp", "slow", seconds=30)
        with anyio.move_on_after(5) as scope:
            await mig.archives.download(archive, tmp_path)
        assert scope.cancelled_caught
        assert await mig.files.ls("aiomig_jobs") == []
        assert list(tmp_path.iterdir()) == []


# -- transfers


async def test_a_cancelled_wait_leaves_the_transfer_alone() -> None:
    async with world(WORLD) as (_, mig):
        transfer = await mig.transfers.import_from("https://example.org/a", "in")
        with anyio.move_on_after(5) as scope:
            await mig.transfers.wait(transfer)
        assert scope.cancelled_caught
        assert (await mig.transfers.wait(transfer)).ok


async def test_what_a_transfer_sends_and_how_it_ends() -> None:
    async with world(WORLD) as (grid, mig):
        await mig.files.write_text("a.txt", "a")
        urls = ["sftp://example.org:2222/data/a%20b", "sftp://example.org:2222/data/c"]
        transfer = await mig.transfers.import_from(urls, "in", username="me", password="secret", exclude=["*.tmp"])
        sent = next(request.parameters for request in grid.requests if request.operation == "datatransfer")
        assert sent["transfer_src"] == ("/data/a b", "/data/c")
        assert (sent["protocol"], sent["fqdn"], sent["port"]) == (("sftp",), ("example.org",), ("2222",))
        assert (transfer.is_final, transfer.ok) == (False, False)
        assert transfer.created_at is not None
        assert (await mig.transfers.wait(transfer)).ok
        assert "secret" not in repr([each.details for each in await mig.transfers.list()])
        sending = await mig.transfers.export_to("a.txt", "https://missing.example.org/up/")
        assert (sending.action, sending.sources, sending.destination) == ("export", ("a.txt",), "/up/")
        assert (await mig.transfers.wait(sending.id)).state == "FAILED"
        with pytest.raises(FileNotFound, match=r"missing\.txt"):
            await mig.transfers.export_to("missing.txt", "https://example.org/")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://example.org/a?version=2", "would drop everything after the path"),
        ("https://example.org/a#b", "would drop everything after the path"),
        ("https://me:secret@example.org:99999/a", "not a URL with a host"),
        ("https://[::1/a", "not a URL with a host"),
    ],
)
async def test_urls_that_cannot_be_sent(url: str, words: str) -> None:
    async with world(WORLD) as (grid, mig):
        with pytest.raises(SpecError, match=words) as caught:
            await mig.transfers.import_from(url, "in")
        assert "secret" not in str(caught.value)
        assert grid.count("datatransfer") == 0


async def test_a_new_word_is_not_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    async with world() as (_, mig):
        row = {"transfer_id": "t", "action": "import", "status": "Resting", "password": "p"}
        answering(monkeypatch, datatransfer=[{"object_type": "datatransfers", "datatransfers": [row]}])
        (found,) = await mig.transfers.list()
        assert (found.state, found.is_final) == ("RESTING", False)
        assert "password" not in found.details


# -- crontab


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"minute": "*/5"},
            "minute='\\*/5': servers drop such a line without an error; give '\\*' or a number from 0 to 59",
        ),
        ({"minute": 60}, "0 to 59"),
        ({"hour": 24}, "0 to 23"),
        ({"day": 0}, "1 to 31"),
        ({"month": 13}, "1 to 12"),
        ({"weekday": 7}, "0 to 6"),
        ({"weekday": "mon"}, "0 to 6"),
        ({"hour": True}, "0 to 23"),
        ({"hour": 1.5}, "0 to 23"),
        ({"command": ""}, "not one line of text"),
        ({"command": "a\nb"}, "not one line of text"),
    ],
)
def test_what_a_server_would_drop_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        CronEntry(**{"command": "ls", **fields})


@pytest.mark.parametrize("line", ["", "# comment", "* * * * *", "*/5 * * * * ls", "1,2 * * * * ls", "61 * * * * ls"])
def test_lines_that_are_no_entries(line: str) -> None:
    with pytest.raises(SpecError):
        CronEntry.parse(line)


def test_an_entry_is_a_line() -> None:
    entry = CronEntry("submit nightly.mRSL", minute=30, hour=3)
    assert str(entry) == "30 3 * * * submit nightly.mRSL"
    assert CronEntry.parse("  30  3 *  * *\tsubmit nightly.mRSL ") == entry


async def test_a_crontab_keeps_its_other_lines() -> None:
    async with world(WORLD) as (grid, mig):
        first, second = CronEntry("ls a", minute=1), CronEntry("ls b", minute=2)
        await mig.crontab.set([first, second])
        await mig.crontab.remove(first)
        assert await mig.crontab.list() == [second]
        saves = grid.count("crontab", action="save")
        await mig.crontab.remove(first)
        assert grid.count("crontab", action="save") == saves
        await mig.crontab.set([])
        assert await mig.crontab.list() == []


async def test_entries_that_a_server_did_not_keep_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    async with world() as (_, mig):
        answering(monkeypatch, crontab=[{"object_type": "crontab_listing", "crontab": ["# a comment\n"]}])
        with pytest.raises(ServerError, match=r"did not keep: \* \* \* \* \* ls"):
            await mig.crontab.add(CronEntry("ls"))


@pytest.mark.parametrize("content", ["# mine\n1 2 * * * ls  a\n", ["# mine\n", "1 2 * * * ls  a\n"]])
async def test_a_crontab_is_text_or_lines_and_stays_as_it_is(content: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[object] = []

    async def call(self: Service, operation: str, /, **fields: object) -> list[dict[str, Any]]:
        saved.extend([fields["crontab"]] if fields["action"] == "save" else [])
        return [{"object_type": "crontab_listing", "crontab": saved[-1] if saved else content}]

    monkeypatch.setattr(Service, "_call", call)
    async with world(WORLD) as (_, mig):
        assert await mig.crontab.list() == [CronEntry("ls  a", minute=1, hour=2)]
        await mig.crontab.add(CronEntry("ls b"))
        assert saved == ["# mine\n1 2 * * * ls  a\n* * * * * ls b\n"]


async def test_a_crontab_that_cannot_be_read_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(WORLD) as (grid, mig):
        answering(monkeypatch, crontab=[{"object_type": "text", "text": "hello"}])
        with pytest.raises(ProtocolError, match="crontab: the response has no crontab"):
            await mig.crontab.add(CronEntry("ls"))
        assert grid.count("crontab") == 0


# -- triggers


async def test_a_trigger_of_a_vgrid_of_others(caplog: pytest.LogCaptureFixture) -> None:
    async with world(WORLD) as (_, mig):
        with pytest.raises(ServerError, match="owner or member of Other"):
            await mig.triggers.add("Other", "*.csv")
        trigger = await mig.triggers.add("Generic", "*.csv", changes=["created", "modified"], rule_id="mine")
        assert (trigger.id, trigger.path, trigger.changes, trigger.action) == (
            "mine", "*.csv", ("created", "modified"), "submit",
        )  # fmt: skip
        assert "never fire them" in caplog.text


# -- odd responses


@pytest.mark.parametrize(
    ("operation", "ask"),
    [
        ("sharelink", lambda mig: mig.shares.list()),
        ("freezedb", lambda mig: mig.archives.list()),
        ("datatransfer", lambda mig: mig.transfers.list()),
        ("userstats", lambda mig: mig.statistics()),
    ],
)
async def test_an_answer_about_something_else(
    operation: str, ask: Callable[[aiomig.Session], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world() as (_, mig):
        answering(monkeypatch, **{operation: [{"object_type": "text", "text": "hello"}]})
        with pytest.raises(ProtocolError, match=f"{operation}: the response has no"):
            await ask(mig)


async def test_rows_without_an_id_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    async with world() as (_, mig):
        answering(monkeypatch, sharelink=[{"object_type": "sharelinks", "sharelinks": [{"path": "a"}]}])
        with pytest.raises(ProtocolError, match="a row has no share_id"):
            await mig.shares.list()


def test_times_in_all_their_forms() -> None:
    day = datetime(2026, 11, 23, 5, 6, 21, tzinfo=UTC)
    for value in ("Mon Nov 23 05:06:21 2026", "2026-11-23 05:06:21", "2026-11-23T06:06:21+01:00", day.timestamp()):
        assert moment(value) == day
    nothing: tuple[Any, ...] = ("-1", "never", "", -1, None, True, [], 1e300)
    assert [moment(value) for value in nothing] == [None] * len(nothing)


def test_members_in_all_their_forms() -> None:
    assert words({"a": "", "b": 7}, "a", "b") == "7"
    assert words({"a": True, "b": ["x"]}, "a", "b") == ""
    assert texts({"a": [], "b": ["x", 7, ""]}, "a", "b") == ("x",)
    listing: list[dict[str, Any]] = [
        {"object_type": "list", "list": ["a"]},
        {"object_type": "x", "rows": [{"name": "b"}, {"title": "no name"}, 7], "columns": ["not a name"]},
    ]
    assert list(named_rows(listing, "name")) == [("a", {}), ("b", {"name": "b"})]
