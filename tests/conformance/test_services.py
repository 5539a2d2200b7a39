"""Services of a grid other than jobs and files. In local mode, an error names each as missing."""

from __future__ import annotations

import secrets
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import pytest

import aiomig
from aiomig import CronEntry, FileNotFound, LocalError, ServerError, SpecError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from .modes import Settings

VGRID = "Generic"


@pytest.fixture
def offered(grid_settings: Settings, mig: aiomig.Session) -> aiomig.Session:
    """Provide the session, on a grid only."""
    return mig


async def test_local_mode_has_no_services(mig: aiomig.Session) -> None:
    if mig.mode != "local":
        pytest.skip("local mode only")
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "sharelink": mig.shares.list,
        "freezedb": lambda: mig.archives.download("a", "here"),
        "datatransfer": mig.transfers.list,
        "crontab": mig.crontab.list,
        "lsvgridtriggers": lambda: mig.triggers.list(VGRID),
        "userstats": mig.statistics,
        "vgridman": mig.vgrids,
        "resman": mig.resources,
    }
    for operation, call in calls.items():
        with pytest.raises(LocalError, match=f"^{operation} is an operation of a MiG server, and local mode has none"):
            await call()


# -- share links


async def test_the_life_of_a_share_link(offered: aiomig.Session, top: str) -> None:
    await offered.files.write_text(f"{top}/shared/a.txt", "text")
    share = await offered.shares.create(f"{top}/shared")
    assert (share.path, share.read, share.write) == (f"{top}/shared", True, False)
    assert share.url.startswith("https://")
    assert share.id in [each.id for each in await offered.shares.list()]
    changed = await offered.shares.change(share, write=True)
    assert (changed.id, changed.read, changed.write) == (share.id, True, True)
    assert await offered.shares.get(share.id) == changed
    await offered.shares.delete(share)
    with pytest.raises(FileNotFound, match="no share link"):
        await offered.shares.get(share)


async def test_a_share_link_ends(offered: aiomig.Session, top: str) -> None:
    await offered.files.mkdir(f"{top}/shared")
    share = await offered.shares.create(f"{top}/shared", expires=date(2099, 12, 31))
    try:
        assert share.expires_at is not None
        assert share.expires_at.date() == date(2099, 12, 31)
    finally:
        await offered.shares.delete(share)


async def test_everyone_reads_through_a_share_link(
    settings: Settings, offered: aiomig.Session, top: str, tmp_path: Path
) -> None:
    content = bytes(range(256)) * 100
    await offered.files.write_bytes(f"{top}/shared/in/a b.bin", content)
    share = await offered.shares.create(f"{top}/shared")
    try:
        folder = settings.shared(share.url)
        assert await folder.read_bytes("in/a b.bin") == content
        assert await folder.get("in/a b.bin", tmp_path / "new" / "b.bin") == tmp_path / "new" / "b.bin"
        assert (tmp_path / "new" / "b.bin").read_bytes() == content
        with pytest.raises(FileNotFound, match="or the link has expired"):
            await folder.get("missing", tmp_path / "missing")
        assert not (tmp_path / "missing").exists()
    finally:
        await offered.shares.delete(share)


async def test_everyone_writes_through_a_share_link(settings: Settings, offered: aiomig.Session, top: str) -> None:
    if settings.mode == "live":
        pytest.skip("uploads by share links were not seen on a real server")
    await offered.files.mkdir(f"{top}/shared/in")
    share = await offered.shares.create(f"{top}/shared", read=False, write=True)
    folder = settings.shared(share.url)
    await folder.put(b"\0binary\xff", "in/b.bin")
    assert await offered.files.read_bytes(f"{top}/shared/in/b.bin") == b"\0binary\xff"
    await folder.put(b"", "in/empty")
    assert (await offered.files.stat(f"{top}/shared/in/empty")).size == 0
    with pytest.raises(ServerError, match="HTTP 403"):
        await folder.read_bytes("in/b.bin")
    await offered.shares.change(share, read=True, write=False)
    with pytest.raises(aiomig.AuthenticationFailed, match="no right to write"):
        await folder.put(b"x", "in/c.bin")
    assert await folder.read_bytes("in/b.bin") == b"\0binary\xff"


# -- archives


async def test_the_life_of_an_archive(offered: aiomig.Session, top: str, tmp_path: Path) -> None:
    await offered.files.write_text(f"{top}/results/deep/a.txt", "a")
    await offered.files.write_text(f"{top}/b.txt", "bb")
    name = f"aiomig-{secrets.token_hex(4)}"
    archive = await offered.archives.create(name, [f"{top}/results", f"{top}/b.txt"], description="a test")
    assert (archive.name, archive.flavor) == (name, "freeze")
    assert archive.id in [each.id for each in await offered.archives.list()]
    shown = await offered.archives.show(archive.id)
    assert {info.name: info.size for info in shown.files} == {"a.txt": 1, "b.txt": 2}
    await offered.files.write_text(f"{top}/b.txt", "changed")
    await offered.archives.download(archive, tmp_path / "back")
    assert {path.name: path.read_text() for path in (tmp_path / "back").rglob("*.txt")} == {"a.txt": "a", "b.txt": "bb"}
    await offered.archives.delete(archive)
    assert archive.id not in [each.id for each in await offered.archives.list()]


# -- transfers


async def test_the_life_of_a_transfer(settings: Settings, offered: aiomig.Session, top: str) -> None:
    await offered.files.mkdir(f"{top}/in")
    host = "www.example.org" if settings.mode == "live" else "missing.example.org"
    transfer = await offered.transfers.import_from(f"https://{host}/no-such-file.txt", f"{top}/in")
    assert transfer.action == "import"
    ended = await offered.transfers.wait(transfer)
    assert (ended.id, ended.state, ended.is_final, ended.ok) == (transfer.id, "FAILED", True, False)
    assert transfer.id in [each.id for each in await offered.transfers.list()]
    await offered.transfers.delete(transfer)
    with pytest.raises(FileNotFound, match="no data transfer"):
        await offered.transfers.status(transfer)


# -- crontab and triggers


async def test_the_life_of_a_crontab_entry(offered: aiomig.Session) -> None:
    entry = CronEntry(f"touch aiomig-{secrets.token_hex(4)}", minute=59, hour=23, day=31, month=12)
    before = await offered.crontab.list()
    await offered.crontab.add(entry)
    assert await offered.crontab.list() == [*before, entry]
    await offered.crontab.add(entry)
    assert await offered.crontab.list() == [*before, entry]
    await offered.crontab.remove(entry)
    assert await offered.crontab.list() == before


async def test_the_life_of_a_trigger(offered: aiomig.Session) -> None:
    trigger = await offered.triggers.add(VGRID, "in/*.csv", changes=["created"], arguments=["fit.mRSL"])
    assert trigger.id in [each.id for each in await offered.triggers.list(VGRID)]
    await offered.triggers.remove(VGRID, trigger)
    assert trigger.id not in [each.id for each in await offered.triggers.list(VGRID)]


# -- the user


async def test_what_a_server_says_of_the_user(offered: aiomig.Session) -> None:
    statistics = await offered.statistics()
    vgrids = await offered.vgrids()
    resources = await offered.resources()
    assert statistics.jobs
    assert all(vgrid.name for vgrid in vgrids)
    assert all(resource.name for resource in resources)


# -- bad input


async def test_bad_input_is_refused(mig: aiomig.Session) -> None:
    day: Any = "tomorrow"
    wrong: list[tuple[str, Callable[[], Awaitable[object]]]] = [
        ("without any right", lambda: mig.shares.create("x", read=False)),
        ("not a date", lambda: mig.shares.create("x", expires=day)),
        ("no time zone", lambda: mig.shares.create("x", expires=datetime(2099, 1, 1))),
        ("share=", lambda: mig.shares.delete("../x")),
        ("paths=", lambda: mig.archives.create("x", [])),
        ("name=", lambda: mig.archives.create(" ", ["x"])),
        ("flavor=", lambda: mig.archives.create("x", ["x"], flavor="ice")),
        ("archive=", lambda: mig.archives.show("a b")),
        ("not a URL with a host", lambda: mig.transfers.import_from("file.txt", "x")),
        ("contains a login", lambda: mig.transfers.import_from("https://me:secret@example.org/x", "x")),
        ("not URLs of one host", lambda: mig.transfers.import_from(["https://a.org/x", "https://b.org/x"], "x")),
        ("nothing to send", lambda: mig.transfers.export_to([], "https://a.org/x")),
        ("no such change", lambda: mig.triggers.add(VGRID, "x", changes=["eaten"])),
        ("no change would fire it", lambda: mig.triggers.add(VGRID, "x", changes=[])),
        ("no such action", lambda: mig.triggers.add(VGRID, "x", action="sing")),
        ("rule_id=", lambda: mig.triggers.add(VGRID, "x", rule_id="a b")),
        ("a single text instead of a list", lambda: mig.triggers.add(VGRID, "x", changes="created")),
        ("a single text instead of a list", lambda: mig.triggers.add(VGRID, "x", arguments="fit.mRSL")),
        ("a single text instead of a list", lambda: mig.shares.create("x", invites="ada@example.org")),
        (
            "a single text instead of a list",
            lambda: mig.transfers.import_from("https://a.org/x", "x", exclude="*.o"),
        ),
        ("not a CronEntry", lambda: mig.crontab.set(["*/5 * * * * ls"])),  # type: ignore[list-item]
        ("not a CronEntry", lambda: mig.crontab.add("* * * * * ls")),  # type: ignore[arg-type]
        ("not a CronEntry", lambda: mig.crontab.remove("* * * * * ls")),  # type: ignore[arg-type]
    ]
    for words, call in wrong:
        with pytest.raises(SpecError, match=words) as caught:
            await call()
        assert "secret" not in str(caught.value)
