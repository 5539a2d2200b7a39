"""The fsspec file systems ``mig://`` and ``mig+local://``, for pandas, xarray, dask and all other users of fsspec.

The extra ``fsspec`` installs the dependencies; docs/fsspec.md has examples. For programs without an event loop, fsspec
runs an asyncio event loop in its own thread; aiomig starts no threads.
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, TYPE_CHECKING, Any, ClassVar, Literal

from fsspec.asyn import AsyncFileSystem, sync, sync_wrapper
from fsspec.callbacks import DEFAULT_CALLBACK
from fsspec.core import has_magic
from fsspec.spec import AbstractBufferedFile
from fsspec.utils import isfilelike

from ._api import connect
from ._core.errors import (
    AuthenticationFailed,
    ConfigError,
    ConnectionFailed,
    FileExists,
    FileNotFound,
    LocalError,
    MigError,
    PathRefused,
)
from ._core.paths import has_pattern
from ._fsspec_sessions import shared_session
from ._grid.config import Config
from ._home.files import Files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ._core.paths import FileInfo
    from ._local.settings import LocalFields

_CHUNK_SIZE = 8 << 20
_CODES: tuple[tuple[type[MigError], int], ...] = (
    (FileNotFound, errno.ENOENT),
    (FileExists, errno.EEXIST),
    (PathRefused, errno.EACCES),
    (AuthenticationFailed, errno.EACCES),
    (ConnectionFailed, errno.ECONNABORTED),
    (ConfigError, errno.EINVAL),
)


@contextmanager
def _os_errors(path: str) -> Iterator[None]:
    """Translate errors of aiomig into the `OSError` classes that users of fsspec expect."""
    try:
        yield
    except MigError as error:
        code = next((code for kind, code in _CODES if isinstance(error, kind)), errno.EIO)
        if isinstance(error, LocalError) and isinstance(error.__cause__, OSError):
            code = error.__cause__.errno or code
        raise OSError(code, str(error), path) from error


class MigFileSystem(AsyncFileSystem):  # type: ignore[misc]
    """The MiG home as an fsspec file system: ``mig://results/out.csv`` is the file ``results/out.csv`` of the home.

    The home is that of a grid or of local mode, chosen in the same way as by `aiomig.connect`. All file systems of one
    account share one session, which is opened on first use and closed at the end of the program. In local mode no
    session is opened, and no job runs. Writes are atomic: a file appears in the home when it is closed. Only the
    contents of open files are cached, because jobs write to the home.

    Methods raise the usual errors of file operations (`FileNotFoundError`, `PermissionError`, `ConnectionError`,
    `OSError`), with the error of aiomig as their cause.

    Example::

        pandas.read_csv("mig://results/out.csv")
        fsspec.filesystem("mig", config="~/.mig/other.conf").ls("results")

    Args:
        config: the configuration of the grid, as in `aiomig.grid`.
        home: the home of local mode, as in `aiomig.local`.
        **options: options of fsspec, such as ``asynchronous``.
    """

    protocol: ClassVar[str] = "mig"
    root_marker: ClassVar[str] = ""
    _mode: ClassVar[Literal["local"] | None] = None

    def __init__(
        self,
        config: Config | str | os.PathLike[str] | None = None,
        home: str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        with _os_errors(f"{self.protocol}://"):
            fields: LocalFields = {} if home is None else {"home": home}
            session = connect(self._mode, config=config, **fields)
            # The files of a local home need no open session, and no event loop of their own.
            self._local = Files(session._backend.home) if session.mode == "local" else None
            self._config: Config | None = None
            if self._local is None:
                self._config = config if isinstance(config, Config) else Config.load(config)

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        stripped = super()._strip_protocol(path)
        return stripped if isinstance(stripped, list) else stripped.lstrip("/").removeprefix("./")

    async def _files(self) -> Files:
        if self._config is None:
            assert self._local is not None
            return self._local
        return await shared_session(self._config).files()

    def close(self) -> None:
        """Close the session that all file systems of this account share. The next use opens a new one."""
        if self._config is not None:
            sync(self.loop, self._close)

    async def _close(self) -> None:
        if self._config is not None:
            await shared_session(self._config).close()

    # -- metadata

    async def _info(self, path: str, **_: Any) -> dict[str, Any]:
        path = self._strip_protocol(path)
        with _os_errors(path):
            return _details(path, await (await self._files()).stat(_literal(path)))

    async def _ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        path = self._strip_protocol(path)
        with _os_errors(path):
            entries = await (await self._files()).ls(_literal(path), hidden=True)
        return [_details(info.path, info) if detail else info.path for info in entries]

    async def _find(self, path: str, maxdepth: int | None = None, withdirs: bool = False, **options: Any) -> Any:
        if maxdepth is not None:
            return await super()._find(path, maxdepth=maxdepth, withdirs=withdirs, **options)
        path = self._strip_protocol(path)
        entries: dict[str, Any] = {}
        with suppress(FileNotFoundError), _os_errors(path):
            listing = await (await self._files()).ls(_literal(path), recursive=True, hidden=True)
            entries = {info.path: _details(info.path, info) for info in listing if withdirs or not info.is_dir}
            if withdirs and path and path not in entries:
                entries[path] = await self._info(path)
        return dict(sorted(entries.items())) if options.get("detail") else sorted(entries)

    def modified(self, path: str) -> Any:
        """Return when a file was last modified, as a timezone-aware datetime."""
        return self.info(path)["modified"]

    # -- content

    async def _cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        path = self._strip_protocol(path)
        files = await self._files()
        if (start or 0) < 0 or (end or 0) < 0:
            start, end, _step = slice(start, end).indices((await self._info(path))["size"])
        with _os_errors(path):
            if end is not None and end <= (start or 0):
                return b""
            try:
                return await files.read_range(path, start or 0, end)
            except PathRefused as error:
                await self._require_file(path, error)
                raise

    async def _require_file(self, path: str, cause: BaseException | None = None) -> None:
        if await self._isdir(path):
            raise IsADirectoryError(errno.EISDIR, "Is a directory", path) from cause

    async def _require_new(self, path: str, mode: str) -> None:
        if mode == "create" and await self._exists(path):
            raise FileExistsError(errno.EEXIST, "File exists", path)

    async def _pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> None:
        path = self._strip_protocol(path)
        await self._require_new(path, mode)
        with _os_errors(path):
            await (await self._files()).write_bytes(path, value)

    async def _put_file(
        self, lpath: str, rpath: str, callback: Any = DEFAULT_CALLBACK, mode: str = "overwrite", **_: Any
    ) -> None:
        rpath = self._strip_protocol(rpath)
        if Path(lpath).is_dir():
            await self._makedirs(rpath, exist_ok=True)
            return
        await self._require_new(rpath, mode)
        await self._require_file(rpath)
        with _os_errors(rpath):
            await (await self._files()).put(lpath, rpath, progress=_progress(callback))

    async def _get_file(self, rpath: str, lpath: Any, callback: Any = DEFAULT_CALLBACK, **_: Any) -> None:
        rpath = self._strip_protocol(rpath)
        info = await self._info(rpath)
        if isfilelike(lpath):
            for start in range(0, info["size"], _CHUNK_SIZE):
                lpath.write(await self._cat_file(rpath, start, start + _CHUNK_SIZE))
        elif info["type"] == "directory":
            Path(lpath).mkdir(parents=True, exist_ok=True)
        elif Path(lpath).is_dir():
            raise IsADirectoryError(errno.EISDIR, "Is a directory", os.fspath(lpath))
        else:
            with _os_errors(rpath):
                await (await self._files()).get(rpath, lpath, progress=_progress(callback))

    async def _put(self, lpath: Any, rpath: Any, recursive: bool = False, **options: Any) -> None:
        """Upload a whole directory with `Files.put`, which uses archives; leave anything else to fsspec."""
        if not (recursive and _is_plain(lpath, options) and isinstance(rpath, str) and Path(lpath).is_dir()):
            await super()._put(lpath, rpath, recursive=recursive, **options)
            return
        inside = rpath.endswith("/")
        rpath = self._strip_protocol(rpath)
        sources: Any = lpath
        if os.fspath(lpath).endswith("/") and (inside or await self._isdir(rpath)):  # only its contents
            await self._makedirs(rpath, exist_ok=True)
            sources, inside = sorted(Path(lpath).iterdir()), True
        with _os_errors(rpath):
            progress = _progress(options.get("callback", DEFAULT_CALLBACK))
            await (await self._files()).put(sources, f"{rpath or '.'}{'/' if inside else ''}", progress=progress)

    async def _get(self, rpath: Any, lpath: Any, recursive: bool = False, **options: Any) -> None:
        """Download a whole directory with `Files.get`, which uses archives; leave anything else to fsspec."""
        whole = recursive and _is_plain(rpath, options) and isinstance(lpath, str | os.PathLike)
        if not whole or not await self._isdir(rpath):
            await super()._get(rpath, lpath, recursive=recursive, **options)
            return
        contents_only = os.fspath(rpath).endswith("/")
        rpath = self._strip_protocol(rpath)
        sources = await self._ls(rpath, detail=False) if contents_only and Path(lpath).is_dir() else rpath or "."
        lpath = (os.fspath(lpath).rstrip("/") or "/") if contents_only else lpath
        with _os_errors(rpath):
            progress = _progress(options.get("callback", DEFAULT_CALLBACK))
            await (await self._files()).get(sources, lpath, progress=progress)

    # -- creating, renaming and removing

    async def _mkdir(self, path: str, create_parents: bool = True, **_: Any) -> None:
        path = self._strip_protocol(path)
        with _os_errors(path):
            await (await self._files()).mkdir(path or ".", parents=create_parents, exist_ok=False)

    async def _makedirs(self, path: str, exist_ok: bool = False) -> None:
        path = self._strip_protocol(path)
        with _os_errors(path):
            await (await self._files()).mkdir(path or ".", exist_ok=exist_ok)

    async def _rmdir(self, path: str) -> None:
        path = self._strip_protocol(path)
        with _os_errors(path):
            await (await self._files()).rmdir(path or ".")

    rmdir = sync_wrapper(_rmdir)

    async def _rm_file(self, path: str, **_: Any) -> None:
        path = self._strip_protocol(path)
        await self._require_file(path)
        with _os_errors(path):
            await (await self._files()).remove(path or ".")

    async def _rm(
        self, path: Any, recursive: bool = False, batch_size: int | None = None, maxdepth: int | None = None, **_: Any
    ) -> None:
        if not recursive or maxdepth is not None:
            await super()._rm(path, recursive=recursive, batch_size=batch_size, maxdepth=maxdepth)
            return
        for target in await self._expand_path(path):
            with _os_errors(target):
                await (await self._files()).remove(target or ".", recursive=True)

    async def _cp_file(self, path1: str, path2: str, **_: Any) -> None:
        path1, path2 = self._strip_protocol(path1), self._strip_protocol(path2)
        if await self._isdir(path1):
            await self._makedirs(path2, exist_ok=True)
            return
        with _os_errors(path1):
            await (await self._files()).copy(path1, path2)

    async def _mv(self, path1: str, path2: str, recursive: bool = False, maxdepth: int | None = None, **_: Any) -> None:
        inside = "/" if str(path2).endswith("/") else ""
        path1, path2 = self._strip_protocol(path1), self._strip_protocol(path2)
        if path1 == path2:
            return
        with _os_errors(path1):
            files = await self._files()
            sources = await self._expand_path(path1)
            if len(sources) > 1:
                await files.mkdir(path2 or ".")
            for source in sources:
                await files.move(source, (path2 or ".") + inside)

    mv = sync_wrapper(_mv)

    async def _touch(self, path: str, truncate: bool = True, **_: Any) -> None:
        path = self._strip_protocol(path)
        with _os_errors(path):
            files = await self._files()
            if truncate:
                await files.write_bytes(path, b"")
            else:
                await files.touch(path)

    touch = sync_wrapper(_touch)

    def _open(self, path: str, mode: str = "rb", **options: Any) -> MigFile:
        return MigFile(self, path, mode, **options)


class LocalMigFileSystem(MigFileSystem):
    """The home of local mode as an fsspec file system: ``mig+local://results/out.csv``. See `MigFileSystem`."""

    protocol: ClassVar[str] = "mig+local"
    _mode: ClassVar[Literal["local"] | None] = "local"


class MigFile(AbstractBufferedFile):  # type: ignore[misc]
    """An open file of the home. Reads are cached; writes go to a temporary file on this machine first.

    Closing the file uploads it to the home atomically. If an exception leaves the block of ``with fs.open(…)``, the
    home stays unchanged.
    """

    def __init__(self, fs: MigFileSystem, path: str, mode: str = "rb", **options: Any) -> None:
        self._buffered: IO[bytes] | None = None
        if mode == "rb":
            self._details = fs.info(path)
            if self._details["type"] == "directory":
                raise IsADirectoryError(errno.EISDIR, "Is a directory", path)
        elif mode == "xb" and fs.exists(path):
            raise FileExistsError(errno.EEXIST, "File exists", path)
        super().__init__(fs, path, mode, **options)

    def _fetch_range(self, start: int, end: int) -> bytes:
        return bytes(self.fs.cat_file(self.path, start=start, end=end))

    def _initiate_upload(self) -> None:
        self._buffered = NamedTemporaryFile(prefix="aiomig-")  # noqa: SIM115 - closed by commit or discard
        if self.mode == "ab" and self.fs.exists(self.path):
            self.fs.get_file(self.path, self._buffered)

    def _upload_chunk(self, final: bool = False) -> bool:
        assert self._buffered is not None
        self._buffered.write(self.buffer.getvalue())
        if final and self.autocommit:
            self.commit()
        return True

    def commit(self) -> None:
        """Upload the file to the home."""
        assert self._buffered is not None
        self._buffered.flush()
        try:
            self.fs.put_file(self._buffered.name, self.path, mode="create" if self.mode == "xb" else "overwrite")
        finally:
            self.discard()

    def discard(self) -> None:
        """Discard the written data."""
        if self._buffered is not None:
            self._buffered.close()

    def __exit__(self, *error: object) -> None:
        if error[0] is not None and self.mode != "rb":
            self.discard()
            self.closed = True
        else:
            self.close()


def _literal(path: str) -> str:
    """Return a path of the home. A path that looks like a pattern cannot exist: MiG cannot address such names."""
    if has_pattern(path):
        raise FileNotFound(path)
    return path or "."


def _details(path: str, info: FileInfo) -> dict[str, Any]:
    kind = "directory" if info.is_dir else "file"
    return {"name": path, "size": info.size, "type": kind, "modified": info.modified_at}


def _is_plain(path: Any, options: dict[str, Any]) -> bool:
    """Return whether a path names a single file or directory, and no options of fsspec change the transfer."""
    return isinstance(path, str | os.PathLike) and not has_magic(os.fspath(path)) and not set(options) - {"callback"}


def _progress(callback: Any) -> Callable[[int, int], None]:
    def report(done: int, total: int) -> None:
        callback.set_size(total)
        callback.absolute_update(done)

    return report
