"""`FakeGrid`: a MiG server for tests."""

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

from ._answers import Answers, operation_of, refusal
from ._faults import Faults
from ._home import Home
from ._jobs import Jobs
from ._runner import Runner
from ._scripted import GridJob
from ._site import USER, Site
from ._wire import Request, Response, form

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractAsyncContextManager
    from os import PathLike
    from types import TracebackType
    from typing import Self, Unpack

    import httpx
    from anyio.abc import TaskGroup

    from .._session import Session
    from ._certificates import Authority
    from ._jobs import Job
    from ._serve import Address
    from ._session import SessionFields

    Script = Callable[[GridJob], object]


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """One request that reached the server.

    Attributes:
        operation: such as ``"jobstatus"``; ``"cert_redirect"`` for downloads; else the path.
        method: of HTTP.
        path: as sent, without the query.
        parameters: all values by name, without the token; of files their names.
        size: bytes of the body.
        client: the distinguished name of the client.
        at: seconds of the event loop's clock.
    """

    operation: str
    method: str
    path: str
    parameters: Mapping[str, tuple[str, ...]]
    size: int
    client: str
    at: float


class FakeGrid:
    r"""A MiG server in Python that speaks the wire as a real one was recorded to.

    It has one user with a home, takes the operations that aiomig and its users need, and refuses what a server refuses,
    in the same words. Submitted jobs are run by the engine of local mode, as real processes; or the test decides what
    becomes of them::

        async with FakeGrid() as grid:
            grid.hold()                                      # jobs wait for the test
            async with grid.session() as session:
                job = await session.submit("fit.sh")
                grid.job(job.id).executing(after=60).finish(stdout="done\n", after=7200)
                assert (await job).stdout == "done\n"

    Time is that of the event loop (`anyio.current_time`), so a test with a virtual clock sees two hours pass at once.
    With ``clock="virtual"`` the server has a clock of its own, and no other is needed: it stands still, but for
    `pass_time`, and for clients that ask for jobs again and would be told nothing new; then it jumps to what happens
    next. So whoever waits for a job that takes two hours has it after a few requests, with the times of two hours.

    Requests come in memory through `transport` (`session` makes a session of it), or over TLS through `serve`. `faults`
    makes it misbehave; `requests` and `count` tell what it was asked.

    Cancelling a request does not undo it: like a server, it goes on when the client has left.

    Args:
        home: the folder of the user's home; made where it is missing. Default is a temporary one.
        site: how the server is set up.
        slots: how many jobs run at once.
        user: the distinguished name of the user in the old slash form.
        epoch: what the server's clock shows at first, in seconds since 1970; default is now.
        clock: what moves the server's clock: the event ``"loop"``, or as above ``"virtual"``.

    Raises:
        ValueError: ``slots`` or ``clock`` is out of range.
    """

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
        """How it misbehaves; see `Faults.add`."""
        self.requests: list[RecordedRequest] = []
        """What it was asked, in order."""
        self.connections = 0
        """TLS connections that were made to it."""
        self._slots = slots
        self._epoch = epoch
        self._is_virtual = clock == "virtual"
        self._has_news = True
        self._began = 0.0
        self._passed = 0.0
        self._salt = secrets.token_hex(16)
        self._given = Path(home) if home is not None else None
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._homes: dict[str, Home] = {}
        self._jobs = Jobs(self.site)
        self._answers = Answers(self.site, self._jobs, self._homes, self.token)
        self._script: Script | None = None
        self.tasks: TaskGroup = anyio.create_task_group()
        """Where everything runs that the server does by itself."""
        self._runner: Runner | None = None
        self._news: anyio.Event
        self._opened = False

    async def __aenter__(self) -> Self:
        if self._opened:
            raise RuntimeError("a FakeGrid is opened once; make another")
        self._opened = True
        if self._given is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="aiomig-fake-grid-")
            self._given = Path(self._temporary.name) / "home"
        self._began = anyio.current_time()
        self._news = anyio.Event()
        if self._epoch is None:
            self._epoch = time.time()
        self._jobs.now = self._epoch
        self.add_user(self.user, self._given)
        await self.tasks.__aenter__()
        self._runner = Runner(self.tasks, self._jobs, self._look, lambda user: self._homes[user].root, self._slots)
        self._jobs.made = self._made
        self._jobs.changed = self._changed
        self._jobs.live = self._live
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.tasks.cancel_scope.cancel()
        try:
            # The error is not shown to the group: it would wrap it in an ExceptionGroup.
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
        """The folder of the user's home, to look into and to put files in."""
        return self._homes[self.user].root if self.user in self._homes else self._fail_closed()

    def _fail_closed(self) -> Path:
        raise RuntimeError("the FakeGrid is not open: use it as async with FakeGrid() as grid")

    def add_user(self, user: str, home: str | PathLike[str]) -> None:
        """Makes an account.

        Args:
            user: the distinguished name in the slash form.
            home: the folder of its home; made where it is missing.
        """
        folder = Path(home)
        folder.mkdir(parents=True, exist_ok=True)
        self._homes[user] = Home(folder, user.replace("/", "+").replace(" ", "_"))

    def token(self, operation: str, client: str | None = None) -> str:
        """The token that a client needs to change something (mig-live 4).

        Args:
            operation: its name.
            client: whose, default the user's.
        """
        return hashlib.sha256(f"{self._salt} {operation} {client or self.user}".encode()).hexdigest()

    def renew_tokens(self) -> None:
        """Makes all tokens invalid that were given out, as a site does that changes its salt."""
        self._salt = secrets.token_hex(16)

    # -- jobs

    def hold(self) -> None:
        """Lets jobs that are submitted from now on wait for what the test says; see `job`."""
        self._script = lambda job: None

    def script(self, script: Script) -> None:
        r"""Calls something with each job that is submitted from now on, to say what becomes of it.

        ::

            grid.script(lambda job: job.executing(after=1).finish(stdout="ok\n", after=60))
        """
        self._script = script

    def run(self) -> None:
        """Lets the engine of local mode run jobs that are submitted from now on, as at the beginning."""
        self._script = None

    def job(self, job_id: str) -> GridJob:
        """A job by its id.

        Raises:
            LookupError: there is no such job.
        """
        record = self._jobs.records.get(job_id)
        if record is None:
            known = ", ".join(self._jobs.records) or "none"
            raise LookupError(f"{job_id!r}: no such job was submitted; there are: {known}")
        return self._scripted(record)

    @property
    def jobs(self) -> list[GridJob]:
        """All jobs, in the order in which they were submitted."""
        return [self._scripted(record) for record in self._jobs.records.values()]

    def _scripted(self, record: Job) -> GridJob:
        home = self._homes[record.user].root
        return GridJob(record, self._jobs, home, self._look, self._change)

    def _made(self, job: Job) -> None:
        job.scripted = self._script is not None
        if self._script is not None:
            self._script(self._scripted(job))
        elif self._runner is not None:
            self._runner.add(job)

    async def _change(self) -> None:
        """Waits for the state of some job to change."""
        if self._is_virtual and (left := self._jobs.next_news()) is not None:
            self.pass_time(left)
            await anyio.lowlevel.checkpoint()
            return
        if self._news.is_set():
            self._news = anyio.Event()
        with anyio.move_on_after(None if self._is_virtual else self._jobs.next_due()):
            await self._news.wait()

    def _changed(self, job: Job) -> None:
        self._has_news = True
        self._news.set()
        if not job.scripted and self._runner is not None:
            self._runner.changed(job)

    def _live(self, job: Job, name: str) -> bytes:
        if job.scripted or self._runner is None:
            return job.live.get(name, b"")
        return self._runner.written(job, name)

    # -- what it was asked

    def count(self, operation: str | None = None, **parameters: str) -> int:
        """How many requests there were.

        Args:
            operation: of this operation only.
            **parameters: of those only that had these values, such as ``action="move"``.
        """
        return sum(
            (operation is None or each.operation == operation)
            and all(value in each.parameters.get(name, ()) for name, value in parameters.items())
            for each in self.requests
        )

    @property
    def counts(self) -> Counter[str]:
        """How many requests there were of each operation."""
        return Counter(each.operation for each in self.requests)

    # -- ways in

    def transport(self, client: str | None = None) -> httpx.AsyncBaseTransport:
        """A transport for `httpx.AsyncClient` that reaches this server in memory.

        Args:
            client: whose certificate the client has; default the user's.
        """
        from ._transport import FakeTransport

        return FakeTransport(self, self.user if client is None else client)

    def session(self, **fields: Unpack[SessionFields]) -> Session:
        """A session on this server, in memory, made by `aiomig.grid`. It asks often, and tries again at once.

        Args:
            **fields: arguments of `aiomig.grid`.

        Returns:
            A session to be opened by ``async with``.
        """
        from ._session import session_on

        return session_on(self, **fields)

    def serve(
        self, host: str = "localhost", port: int = 0, *, authority: Authority | None = None
    ) -> AbstractAsyncContextManager[Address]:
        """Serves over TLS, with a required client certificate, while the context is open.

        ::

            async with FakeGrid() as grid, grid.serve() as address:
                async with aiomig.grid(url=address.url, certificate=address.certificate, …

        Args:
            host: where to listen; a name or address of this machine.
            port: 0 for any.
            authority: who made the certificates; default is a new one, with a certificate for the user.

        Raises:
            ImportError: trustme is not installed; it is in the ``test`` extra.
        """
        from ._serve import serve

        return serve(self, host, port, authority)

    async def handle(self, request: Request) -> Response:
        """Answers one request.

        Raises:
            Dropped: the connection is to be closed without an answer.
        """
        if not self._opened or self._runner is None:
            self._fail_closed()
        self._look()
        operation = operation_of(request.path)
        self._record(operation, request)
        if self._is_virtual and operation == "jobstatus":
            self._jump()
        if (wrong := refusal(request)) is not None:
            return wrong
        faults = self.faults.take(operation)
        response: Response | None = None
        early = [fault for fault in faults if fault.when == "before"]
        for fault in early:
            response = response or fault.answer(request, operation, None)
        if response is None:
            try:
                await anyio.sleep(sum(fault.seconds for fault in early))
            finally:
                # Also where the client has left meanwhile, as a server does.
                self._look()
                response = self._answers.act(operation, request)
        for fault in faults:
            if fault.when == "after":
                await anyio.sleep(fault.seconds)
                response = fault.answer(request, operation, response) or response
        return response

    def _look(self) -> None:
        loop = 0.0 if self._is_virtual else anyio.current_time() - self._began
        self._jobs.advance((self._epoch or 0.0) + self._passed + loop)

    def pass_time(self, seconds: float) -> None:
        """Moves the server's clock on, and lets happen what is due by then.

        Raises:
            ValueError: ``seconds`` is negative.
        """
        if seconds < 0:
            raise ValueError(f"seconds={seconds!r}: time does not go back; give 0 or more")
        self._passed += seconds
        self._look()

    def _jump(self) -> None:
        """Where a client asks for jobs again and nothing has changed, what it waits for happens."""
        if not self._has_news and (left := self._jobs.next_news()) is not None:
            self.pass_time(left)
        self._has_news = False

    @property
    def now(self) -> float:
        """What the server's clock shows, in seconds since 1970."""
        self._look()
        return self._jobs.now

    def _record(self, operation: str, request: Request) -> None:
        parameters: dict[str, tuple[str, ...]] = {}
        for field in form(request):
            if field.name != "_csrf":
                text = field.text if field.filename is None else field.filename
                parameters[field.name] = (*parameters.get(field.name, ()), text)
        self.requests.append(
            RecordedRequest(
                operation,
                request.method,
                request.path,
                MappingProxyType(parameters),
                len(request.body),
                request.client,
                anyio.current_time(),
            )
        )
