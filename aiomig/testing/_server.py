"""The server behind `FakeGrid`: its users, its jobs, its clock, and the handling of requests."""

from __future__ import annotations

import hashlib
import secrets
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

import anyio
import anyio.lowlevel

from .._spec.mrsl import Description
from ._dispatcher import Dispatcher, operation_of, refusal
from ._faults import Faults
from ._home import Home
from ._jobs import Jobs
from ._runner import Runner
from ._scripted import GridJob
from ._site import USER, Site
from ._wire import Request, Response, form

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from os import PathLike
    from types import TracebackType
    from typing import Self

    from anyio.abc import TaskGroup

    from ._jobs import Job

    Script = Callable[[GridJob], object]


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """One request that reached the server.

    Attributes:
        operation: the operation, such as ``"jobstatus"``; ``"cert_redirect"`` for downloads; otherwise the path.
        method: the HTTP method.
        path: the path as sent, without the query.
        parameters: all values by name, without the token; for files their names.
        size: the size of the body in bytes.
        client: the distinguished name of the client.
        at: when it arrived, in seconds of the event loop's clock.
    """

    operation: str
    method: str
    path: str
    parameters: Mapping[str, tuple[str, ...]]
    size: int
    client: str
    at: float


class Server:
    """A MiG server without its transports, which `FakeGrid` adds. The arguments are those of `FakeGrid`."""

    def __init__(
        self,
        home: str | PathLike[str] | None = None,
        *,
        site: Site | None = None,
        slots: int = 2,
        user: str = USER,
        epoch: float | None = None,
        clock: Literal["loop", "virtual"] = "loop",
    ) -> None:
        if slots < 1:
            raise ValueError(f"slots={slots!r}: give at least 1")
        if clock not in ("loop", "virtual"):
            raise ValueError(f"clock={clock!r}: no such clock; use 'loop' or 'virtual'")
        self.site: Site = site or Site()
        self.user = user
        self.faults: Faults = Faults()
        """The faults of the server; see `Faults.add`."""
        self.requests: list[RecordedRequest] = []
        """All requests that reached the server, in order."""
        self.connections = 0
        """The number of TLS connections of clients."""
        self.public_url = ""
        """The URL of the host that requires no certificate, for share links."""
        self.tasks: TaskGroup = anyio.create_task_group()
        """The background tasks of the server."""
        self._slots = slots
        self._epoch = epoch
        self._is_virtual = clock == "virtual"
        self._has_changed = True
        self._began = 0.0
        self._passed = 0.0
        self._salt = secrets.token_hex(16)
        self._home_argument = home
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._homes: dict[str, Home] = {}
        self._jobs = Jobs(self.site)
        self._dispatcher = Dispatcher(self.site, self._jobs, self._homes, self.token)
        self._script: Script | None = None
        self._runner: Runner | None = None
        self._state_changed: anyio.Event
        self._opened = False

    async def __aenter__(self) -> Self:
        if self._opened:
            raise RuntimeError("a FakeGrid can be opened only once; create another one")
        self._opened = True
        self._began = anyio.current_time()
        self._state_changed = anyio.Event()
        if self._epoch is None:
            self._epoch = time.time()
        self._jobs.now = self._epoch
        self.add_user(self.user, self._home_argument)
        await self.tasks.__aenter__()
        self._runner = Runner(
            self.tasks, self._jobs, self._update_clock, lambda user: self._homes[user].root, self._slots
        )
        self._jobs.on_created = self._job_created
        self._jobs.on_changed = self._job_changed
        self._jobs.read_live = self._read_live
        self._jobs.copy_live_files = self._copy_live_files
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.tasks.cancel_scope.cancel()
        try:
            # Do not pass the error to the task group, which would wrap it in an ExceptionGroup.
            await self.tasks.__aexit__(None, None, None)
        finally:
            if self._runner is not None:
                self._runner.close()
                self._runner = None
            if self._temporary is not None:
                self._temporary.cleanup()

    # -- users and files

    @property
    def home(self) -> Path:
        """The folder of the user's home. A test may read and write files there."""
        if self.user not in self._homes:
            self._refuse_closed()
        return self._homes[self.user].root

    def _refuse_closed(self) -> None:
        raise RuntimeError("the FakeGrid is not open: use it as async with FakeGrid() as grid")

    def add_user(self, user: str, home: str | PathLike[str] | None = None) -> Path:
        """Create an account, or give an account another home. `Address.config` also creates a certificate.

        Args:
            user: the distinguished name in the slash form.
            home: the folder of its home, created if it does not exist; the default is a temporary folder.

        Returns:
            The folder of its home.
        """
        if home is None:
            self._temporary = self._temporary or tempfile.TemporaryDirectory(prefix="aiomig-fake-grid-")
            home = Path(self._temporary.name) / f"home{len(self._homes)}"
        folder = Path(home)
        folder.mkdir(parents=True, exist_ok=True)
        self._homes[user] = Home(folder, user.replace("/", "+").replace(" ", "_"))
        return self._homes[user].root

    def has_user(self, user: str) -> bool:
        """Return whether a distinguished name has an account."""
        return user in self._homes

    def token(self, operation: str, client: str | None = None) -> str:
        """Return the CSRF token of an operation for a client. See docs/protocol.md#csrf-tokens.

        Args:
            operation: its name.
            client: the distinguished name of the client; the default is the user.
        """
        return hashlib.sha256(f"{self._salt} {operation} {client or self.user}".encode()).hexdigest()

    def renew_tokens(self) -> None:
        """Invalidate all tokens, as a site does when it changes its salt."""
        self._salt = secrets.token_hex(16)

    # -- jobs

    def hold(self) -> None:
        """Make jobs submitted from now on wait for the test; see `job`."""
        self._script = lambda job: None

    def script(self, script: Script) -> None:
        r"""Call a function with each job submitted from now on, to script what happens to the job.

        ::

            grid.script(lambda job: job.executing(after=1).finish(stdout="ok\n", after=60))
        """
        self._script = script

    def run(self) -> None:
        """Really run jobs submitted from now on. This is the default."""
        self._script = None

    def add_jobs(self, count: int, commands: Sequence[str] = ("true",)) -> list[GridJob]:
        """Create jobs as if the user had submitted them, without requests.

        Args:
            count: how many.
            commands: the EXECUTE lines of each job.
        """
        self._update_clock()
        description = Description({"EXECUTE": tuple(commands)})
        return [self._scripted(self._jobs.make(self.user, description)) for _ in range(count)]

    def job(self, job_id: str) -> GridJob:
        """Return a job by its id.

        Raises:
            LookupError: no such job was submitted.
        """
        record = self._jobs.records.get(job_id)
        if record is None:
            ids = ", ".join(self._jobs.records) or "none"
            raise LookupError(f"{job_id!r}: no such job was submitted; the jobs are: {ids}")
        return self._scripted(record)

    @property
    def jobs(self) -> list[GridJob]:
        """All jobs in the order of their submission."""
        return [self._scripted(record) for record in self._jobs.records.values()]

    def _scripted(self, record: Job) -> GridJob:
        home = self._homes[record.user].root
        return GridJob(record, self._jobs, home, self._update_clock, self._wait_for_change)

    def _job_created(self, job: Job) -> None:
        job.scripted = self._script is not None
        if self._script is not None:
            self._script(self._scripted(job))
        elif self._runner is not None:
            self._runner.add(job)

    async def _wait_for_change(self) -> None:
        """Wait until the state of a job changes."""
        if self._is_virtual and (seconds := self._jobs.next_change()) is not None:
            self.pass_time(seconds)
            await anyio.lowlevel.checkpoint()
            return
        if self._state_changed.is_set():
            self._state_changed = anyio.Event()
        with anyio.move_on_after(None if self._is_virtual else self._jobs.next_due()):
            await self._state_changed.wait()

    def _job_changed(self, job: Job) -> None:
        self._has_changed = True
        self._state_changed.set()
        if not job.scripted and self._runner is not None:
            self._runner.job_changed(job)

    def _read_live(self, job: Job, name: str) -> bytes:
        if job.scripted or self._runner is None:
            return job.live.get(name, b"")
        return self._runner.read_live(job, name)

    def _copy_live_files(self, job: Job, action: str, sources: list[str], folder: str) -> None:
        if not job.scripted and self._runner is not None:
            self._runner.copy_live_files(job, action, sources, folder)
            return
        root = self._homes[job.user].root
        for source in sources:
            name = source.rpartition("/")[2]
            if action == "get":
                job.live[f"{folder}/{name}"] = (root / source).read_bytes()
            elif source in job.live:
                (root / folder).mkdir(parents=True, exist_ok=True)
                (root / folder / name).write_bytes(job.live[source])

    # -- requests

    def count(self, operation: str | None = None, **parameters: str) -> int:
        """Return the number of requests so far.

        Args:
            operation: count only requests of this operation.
            **parameters: count only requests with these values, such as ``action="move"``.
        """
        return sum(
            (operation is None or request.operation == operation)
            and all(value in request.parameters.get(name, ()) for name, value in parameters.items())
            for request in self.requests
        )

    @property
    def counts(self) -> Counter[str]:
        """The number of requests by operation."""
        return Counter(request.operation for request in self.requests)

    async def handle(self, request: Request) -> Response:
        """Respond to one request.

        Raises:
            Dropped: a fault closes the connection without a response.
        """
        if not self._opened or self._runner is None:
            self._refuse_closed()
        self._update_clock()
        operation = operation_of(request.path)
        self._record(operation, request)
        if self._is_virtual and (operation == "jobstatus" or self._asks_for_transfers()):
            self._jump()
        if (refused := refusal(request)) is not None:
            return refused
        faults = self.faults.take(operation)
        response: Response | None = None
        early = [fault for fault in faults if fault.when == "before"]
        for fault in early:
            response = response or fault.replacement(request, operation, None)
        if response is None:
            try:
                await anyio.sleep(sum(fault.seconds for fault in early))
            finally:
                # Even if the client has disconnected meanwhile, as a real server does.
                self._update_clock()
                response = self._dispatcher.respond(operation, request)
        for fault in faults:
            if fault.when == "after":
                await anyio.sleep(fault.seconds)
                response = fault.replacement(request, operation, response) or response
        return response

    def _asks_for_transfers(self) -> bool:
        last = self.requests[-1]
        return last.operation == "datatransfer" and last.parameters.get("action") == ("show",)

    def _record(self, operation: str, request: Request) -> None:
        parameters: dict[str, list[str]] = {}
        for field in form(request):
            if field.name != "_csrf":
                text = field.text if field.filename is None else field.filename
                parameters.setdefault(field.name, []).append(text)
        self.requests.append(
            RecordedRequest(
                operation,
                request.method,
                request.path,
                MappingProxyType({name: tuple(values) for name, values in parameters.items()}),
                len(request.body),
                request.client,
                anyio.current_time(),
            )
        )

    # -- the clock

    @property
    def now(self) -> float:
        """The server's clock, in seconds since 1970."""
        self._update_clock()
        return self._jobs.now

    def pass_time(self, seconds: float) -> None:
        """Advance the server's clock, and run all events until then.

        Raises:
            ValueError: ``seconds`` is negative.
        """
        if seconds < 0:
            raise ValueError(f"seconds={seconds!r}: time does not go back; give 0 or more")
        self._passed += seconds
        self._update_clock()

    def _update_clock(self) -> None:
        loop = 0.0 if self._is_virtual else anyio.current_time() - self._began
        self._jobs.advance((self._epoch or 0.0) + self._passed + loop)

    def _jump(self) -> None:
        """Advance a virtual clock to the next event if a client asks again and nothing has changed."""
        if not self._has_changed and (seconds := self._jobs.next_change()) is not None:
            self.pass_time(seconds)
        self._has_changed = False
