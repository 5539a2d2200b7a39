"""What the routes get from the application: the session of the user, its jobs, the open streams."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Header, Request

from .. import Session
from ._board import Boards, JobBoard
from ._streams import OpenStreams

# All are async: FastAPI runs other functions in threads.


async def session_of(request: Request) -> Session:
    """Return the session of the user of a request."""
    session: Session = request.state.session
    return session


async def board_of(request: Request) -> JobBoard:
    """Return the jobs of the user of a request."""
    boards: Boards = request.app.state.boards
    return await boards.of(request.state.session)


async def streams_of(request: Request) -> OpenStreams:
    """Return the open streams of the application."""
    streams: OpenStreams = request.app.state.streams
    return streams


Mig = Annotated[Session, Depends(session_of)]
Board = Annotated[JobBoard, Depends(board_of)]
Streams = Annotated[OpenStreams, Depends(streams_of)]
LastEventId = Annotated[str | None, Header(alias="Last-Event-ID")]
