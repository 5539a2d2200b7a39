"""Commands for other services of a grid: share links, archives, transfers, crontab, triggers, and the account."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .. import CronEntry
from ._command import command
from ._exit_codes import ExitCode
from ._output import local_time, write, write_json, write_table
from ._settings import current, shared_options

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from .. import Archive, Session, Share, Transfer, Trigger


def _write_list(values: Sequence[Any], columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write values as JSON or as a table with the given rows."""
    if current().json:
        write_json(values)
    elif values:
        write_table(dict.fromkeys(columns, "left"), rows)


def _write_one(value: Any, text: str) -> None:
    """Write a value as JSON or as the given text."""
    if current().json:
        write_json(value)
    elif not current().quiet:
        write(text)


# -- share links


@click.group()
@shared_options
def share() -> None:
    """Give others access to files of the home by URL, without a certificate.

    \b
      aiomig share create --until 2027-01-31 results/7
    """


_until = click.option("--until", type=click.DateTime(["%Y-%m-%d"]), help="The last day, such as 2027-01-31.")
_read = click.option("--read/--no-read", default=None, help="Allow others to read.")
_write = click.option("--write/--no-write", default=None, help="Allow others to write, and so to remove.")


@command("create", share)
@click.argument("path")
@_read
@_write
@_until
@click.option("--invite", multiple=True, metavar="ADDRESS", help="Let the server send the URL to this address.")
async def create_share(
    mig: Session,
    /,
    *,
    path: str,
    read: bool | None,
    write: bool | None,
    until: datetime | None,
    invite: tuple[str, ...],
) -> None:
    """Share a file or directory, and print the URL. By default, others can read."""
    expires = until.date() if until else None
    link = await mig.shares.create(path, read=read is not False, write=write is True, expires=expires, invites=invite)
    _write_one(link, link.url)


@command("list", share)
async def list_shares(mig: Session, /) -> None:
    """List the share links."""
    shares = await mig.shares.list()
    _write_list(shares, ["ID", "RIGHTS", "ENDS", "PATH", "URL"], [_share_row(link) for link in shares])


def _share_row(link: Share) -> list[str]:
    rights = "+".join(name for name, is_granted in (("read", link.read), ("write", link.write)) if is_granted)
    return [link.id, rights, local_time(link.expires_at), link.path, link.url]


@command("change", share)
@click.argument("share_id", metavar="ID")
@_read
@_write
@_until
@click.option("--for-ever", is_flag=True, help="Remove the end.")
async def change_share(
    mig: Session,
    /,
    *,
    share_id: str,
    read: bool | None,
    write: bool | None,
    until: datetime | None,
    for_ever: bool,
) -> None:
    """Change the rights or the end of a share link."""
    if for_ever and until:
        raise click.UsageError("--until and --for-ever contradict each other")
    end: Any = {"expires": until.date() if until else None} if for_ever or until else {}
    link = await mig.shares.change(share_id, read=read, write=write, **end)
    _write_one(link, link.url)


@command("delete", share)
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
async def delete_shares(mig: Session, /, *, ids: tuple[str, ...]) -> None:
    """Delete share links, but not the files."""
    for share_id in ids:
        await mig.shares.delete(share_id)


# -- archives


@click.group()
@shared_options
def archive() -> None:
    """Store copies of files in archives that the site keeps unchanged.

    \b
      aiomig archive create 'fit of 2026' results/7 results/8
    """


_flavor = click.option(
    "--flavor",
    type=click.Choice(["freeze", "phd", "backup"]),
    default="freeze",
    help="The kind of archive.",
    show_default=True,
)


@command("create", archive)
@click.argument("name")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@_flavor
@click.option("--description", default="", help="A description.")
@click.option("--publish", is_flag=True, help="Publish the archive on the web.")
async def create_archive(
    mig: Session, /, *, name: str, paths: tuple[str, ...], flavor: str, description: str, publish: bool
) -> None:
    """Create an archive of files of the home, and print its id."""
    archive = await mig.archives.create(name, paths, flavor=flavor, description=description, publish=publish)
    _write_one(archive, archive.id)


@command("list", archive)
async def list_archives(mig: Session, /) -> None:
    """List the archives."""
    archives = await mig.archives.list()
    _write_list(archives, ["ID", "FLAVOR", "STATE", "CREATED", "NAME"], [_archive_row(item) for item in archives])


def _archive_row(archive: Archive) -> list[str]:
    return [archive.id, archive.flavor, archive.state, local_time(archive.created_at), archive.name]


@command("show", archive)
@click.argument("archive_id", metavar="ID")
@_flavor
async def show_archive(mig: Session, /, *, archive_id: str, flavor: str) -> None:
    """List the files of an archive."""
    archive = await mig.archives.show(archive_id, flavor=flavor)
    if current().json:
        write_json(archive)
        return
    for info in archive.files:
        write(info.path)


@command("download", archive)
@click.argument("archive_id", metavar="ID")
@click.argument("folder", default=".")
async def download_archive(mig: Session, /, *, archive_id: str, folder: str) -> None:
    """Download the files of an archive into a local directory."""
    paths = await mig.archives.download(archive_id, folder)
    _write_list([str(path) for path in paths], ["FILE"], [[str(path)] for path in paths])


@command("delete", archive)
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@_flavor
async def delete_archives(mig: Session, /, *, ids: tuple[str, ...], flavor: str) -> None:
    """Delete archives, if the site allows it."""
    for archive_id in ids:
        await mig.archives.delete(archive_id, flavor=flavor)


# -- transfers


@click.group()
@shared_options
def transfer() -> None:
    """Let the server copy files from and to other servers.

    \b
      aiomig transfer import --wait https://example.org/data.csv data/
    """


_wait = click.option("--wait", is_flag=True, help="Wait for the end. Exits with 1 if the transfer FAILED.")
_key = click.option("--key", metavar="ID", help="The key of the site for logging in to the other server.")
_user = click.option("--user", help="The user name on the other server.")


async def _report_transfer(mig: Session, transfer: Transfer, *, wait: bool) -> int:
    if wait:
        transfer = await mig.transfers.wait(transfer)
    _write_one(transfer, f"{transfer.id}  {transfer.state}")
    return ExitCode.FAILURE if transfer.is_final and not transfer.ok else ExitCode.SUCCESS


@command("import", transfer)
@click.argument("urls", nargs=-1, required=True, metavar="URL...")
@click.argument("destination")
@_user
@_key
@_wait
async def import_(
    mig: Session, /, *, urls: tuple[str, ...], destination: str, user: str | None, key: str | None, wait: bool
) -> int:
    """Copy files from another server into a directory of the home."""
    transfer = await mig.transfers.import_from(urls, destination, username=user, key_id=key)
    return await _report_transfer(mig, transfer, wait=wait)


@command("export", transfer)
@click.argument("sources", nargs=-1, required=True, metavar="PATH...")
@click.argument("url")
@_user
@_key
@_wait
async def export(
    mig: Session, /, *, sources: tuple[str, ...], url: str, user: str | None, key: str | None, wait: bool
) -> int:
    """Copy files of the home to another server."""
    transfer = await mig.transfers.export_to(sources, url, username=user, key_id=key)
    return await _report_transfer(mig, transfer, wait=wait)


@command("list", transfer)
async def list_transfers(mig: Session, /) -> None:
    """List the transfers."""
    transfers = await mig.transfers.list()
    rows = [[item.id, item.action, item.state, *item.sources[:1], item.destination] for item in transfers]
    _write_list(transfers, ["ID", "ACTION", "STATE", "FROM", "TO"], rows)


@command("wait", transfer)
@click.argument("transfer_id", metavar="ID")
async def wait_(mig: Session, /, *, transfer_id: str) -> int:
    """Wait for the end of a transfer. Exits with 1 if it FAILED."""
    return await _report_transfer(mig, await mig.transfers.status(transfer_id), wait=True)


@command("delete", transfer)
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
async def delete_transfers(mig: Session, /, *, ids: tuple[str, ...]) -> None:
    """Stop transfers and remove them from the list."""
    for transfer_id in ids:
        await mig.transfers.delete(transfer_id)


# -- crontab and triggers


@click.group()
@shared_options
def crontab() -> None:
    """Let the server run commands at given times. ENTRY is a crontab line with numbers or * as times.

    \b
      aiomig crontab add '30 3 * * * submit nightly.mRSL'
    """


@command("list", crontab)
async def list_entries(mig: Session, /) -> None:
    """List the entries."""
    entries = await mig.crontab.list()
    if current().json:
        write_json(entries)
        return
    for entry in entries:
        write(str(entry))


@command("add", crontab)
@click.argument("entry")
async def add_entry(mig: Session, /, *, entry: str) -> None:
    """Add an entry at the end."""
    await mig.crontab.add(CronEntry.parse(entry))


@command("remove", crontab)
@click.argument("entry")
async def remove_entry(mig: Session, /, *, entry: str) -> None:
    """Remove an entry."""
    await mig.crontab.remove(CronEntry.parse(entry))


@click.group()
@shared_options
def trigger() -> None:
    """Let a VGrid submit jobs when files change. Servers on Python 3 store triggers, but never fire them."""


@command("add", trigger)
@click.argument("vgrid")
@click.argument("path")
@click.argument("arguments", nargs=-1, metavar="[ARGUMENT]...")
@click.option("--change", multiple=True, default=("created",), help="created, modified or deleted.", show_default=True)
@click.option("--action", default="submit", help="submit or command.", show_default=True)
async def add_trigger(
    mig: Session, /, *, vgrid: str, path: str, arguments: tuple[str, ...], change: tuple[str, ...], action: str
) -> None:
    """Add a trigger for the files that match PATH, and print its id."""
    trigger = await mig.triggers.add(vgrid, path, changes=change, action=action, arguments=arguments)
    _write_one(trigger, trigger.id)


@command("list", trigger)
@click.argument("vgrid")
async def list_triggers(mig: Session, /, *, vgrid: str) -> None:
    """List the triggers of a VGrid."""
    triggers = await mig.triggers.list(vgrid)
    _write_list(triggers, ["ID", "PATH", "CHANGES", "ACTION", "ARGUMENTS"], [_trigger_row(item) for item in triggers])


def _trigger_row(trigger: Trigger) -> list[str]:
    return [trigger.id, trigger.path, ",".join(trigger.changes), trigger.action, " ".join(trigger.arguments)]


@command("remove", trigger)
@click.argument("vgrid")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
async def remove_triggers(mig: Session, /, *, vgrid: str, ids: tuple[str, ...]) -> None:
    """Remove triggers."""
    for rule_id in ids:
        await mig.triggers.remove(vgrid, rule_id)


# -- the user


@command("account")
async def account(mig: Session, /) -> None:
    """Show the user's jobs, disk usage, VGrids and resources, as the server reports them."""
    statistics = await mig.statistics()
    vgrids = [vgrid.name for vgrid in await mig.vgrids()]
    resources = [resource.name for resource in await mig.resources()]
    if current().json:
        write_json({"statistics": statistics, "vgrids": vgrids, "resources": resources})
        return
    for name, figures in (
        ("jobs", statistics.jobs),
        ("disk", statistics.disk),
        ("certificate", statistics.certificate),
    ):
        for key, value in figures.items():
            write(f"{name} {key}: {value}")
    write(f"vgrids: {', '.join(vgrids) or '-'}")
    write(f"resources: {', '.join(resources) or '-'}")
