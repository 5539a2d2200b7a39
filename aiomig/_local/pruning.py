"""Removes the files of ended jobs from a home. It follows no links: jobs can create links in their home."""

from __future__ import annotations

import logging
import os
import re
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from .._home.folders import open_directory, remove_tree
from .._spec.plan import PRIVATE_FOLDER
from .records import DamagedRecord

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .records import Record
    from .settings import LocalSettings

logger = logging.getLogger("aiomig.local")

_PRIVATE = re.compile(rf"{PRIVATE_FOLDER}/([A-Za-z0-9_][A-Za-z0-9._+-]*)", re.ASCII)


class Pruned(NamedTuple):
    """The result of removing a job's files.

    Attributes:
        any: whether some were removed.
        all: whether none are left.
    """

    any: bool
    all: bool


async def remove_files(settings: LocalSettings, record: Record) -> Pruned:
    """Remove the inputs, outputs and results of a job. Log the files that cannot be removed."""
    removed, left = False, False
    for folder, name in _places(settings, record):
        try:
            with open_directory(folder) as descriptor:
                if stat.S_ISDIR(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode):
                    await remove_tree(name, descriptor, force=True)
                else:
                    os.unlink(name, dir_fd=descriptor)
        except FileNotFoundError:
            continue
        except OSError as error:
            logger.warning("%s/%s is left behind: %s", folder, name, error.strerror)
            left = True
        else:
            removed = True
    return Pruned(removed, not left)


def _places(settings: LocalSettings, record: Record) -> Iterator[tuple[Path, str]]:
    """Yield the directories and names of files that a job may have left."""
    with suppress(DamagedRecord):
        if match := _PRIVATE.fullmatch(record.plan().folder or ""):
            yield settings.home / PRIVATE_FOLDER, match[1]
    yield settings.home / "job_output", record.job_id
    for name in (record.job_id, f"{record.job_id}.remarks", f"{record.number}.stdout", f"{record.number}.stderr"):
        yield settings.kept, name
