"""A user's home on the server: paths, patterns and the entries of listings."""

from __future__ import annotations

import fnmatch
import os
import posixpath
import re
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ._services import Services

if TYPE_CHECKING:
    from collections.abc import Iterator

HIDDEN = frozenset({".htaccess", ".vgridwiki", ".vgridscm", ".vgridtracker", ".vgridforum", ".trash", ".aiomig"})
"""Names that the server hides and protects (docs/protocol.md#hidden-names), and the folder of local mode's state."""

_MAGIC = re.compile("[*?]")


class Home:
    """One home.

    Args:
        root: its folder.
        name: its name on the server.
    """

    def __init__(self, root: Path, name: str) -> None:
        self.root = Path(os.path.realpath(root))
        self.name = name
        self.services = Services()

    def place(self, path: str) -> Path | None:
        """Return the local path of a path of the home; ``None`` if it leaves the home or is hidden."""
        clean = posixpath.normpath(path.lstrip("/") or ".")
        parts = clean.split("/")
        if parts[0] == ".." or HIDDEN.intersection(parts) or "\0" in path:
            return None
        real = Path(os.path.realpath(self.root / clean))
        if real != self.root and self.root not in real.parents:
            return None
        # Do not follow a link in the last component: operations move and remove the link itself.
        return self.root / clean

    def find(self, pattern: str) -> list[str]:
        """Return the existing paths that match a pattern of ``*`` and ``?``, sorted, without links out of the home."""
        clean = posixpath.normpath(pattern.lstrip("/") or ".")
        if not _MAGIC.search(clean):
            place = self.place(clean)
            return [clean] if place is not None and place.exists() else []
        if clean.split("/")[0] == "..":
            return []
        paths = [""]
        for part in clean.split("/"):
            paths = [path for folder in paths for path in self._expand(folder, part)]
        return [path for path in paths if (place := self.place(path)) is not None and place.exists()]

    def _expand(self, folder: str, part: str) -> Iterator[str]:
        place = self.root / folder
        if not _MAGIC.search(part):
            yield posixpath.join(folder, part)
            return
        if not place.is_dir():
            return
        match = re.compile(fnmatch.translate(part.replace("[", "[[]"))).match
        for name in sorted(os.listdir(place)):
            if name not in HIDDEN and match(name) and (part.startswith(".") or not name.startswith(".")):
                yield posixpath.join(folder, name)

    def names(self, path: str, *, hidden: bool) -> list[str]:
        """Return the names in a folder."""
        return [
            name
            for name in sorted(os.listdir(self.root / path))
            if name not in HIDDEN
            and (hidden or not name.startswith("."))
            and (place := self.place(posixpath.join(path, name))) is not None
            and place.exists()
        ]

    def entry(self, path: str, flags: str, name: str = "") -> dict[str, Any]:
        """Return the entry of a path in a listing."""
        place = self.root / path
        status = place.stat()
        is_dir = stat.S_ISDIR(status.st_mode)
        display_name = posixpath.basename(path) if not name and path != "." else name or path
        folder = path if is_dir else posixpath.dirname(path)
        trash = path == "Trash" and place.is_symlink()
        entry: dict[str, Any] = {
            "object_type": "direntry",
            "type": "directory" if is_dir else "file",
            "name": display_name,
            "rel_path": path,
            "rel_path_enc": quote(path),
            "rel_dir_enc": quote(folder),
            "dirname_with_dir" if is_dir else "file_with_dir": path,
            "flags": flags,
            "special": " - recently deleted data  directory" if trash else "",
        }
        if is_dir:
            entry["extra_class"] = "trashbin" if trash else ""
        if "l" in flags:
            entry["actual_dir" if is_dir else "long_format"] = (
                f"{stat.filemode(status.st_mode)} {status.st_size} {time.asctime(time.gmtime(status.st_mtime))} "
            )
        if "f" in flags:
            entry["file_info"] = {
                "size": status.st_size,
                "created": status.st_ctime,
                "modified": status.st_mtime,
                "accessed": status.st_atime,
                "ext": "dir" if is_dir else posixpath.splitext(path)[1][1:],
            }
        return entry
