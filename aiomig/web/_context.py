"""Dependencies of the routes: the user's session, its job board, the open streams."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Header, Request

from .. import Session
from ._board import Boards, JobBoard
from ._streams import OpenStreams

# All of them are async, because FastAPI runs sync functions in threads.


async def session_of(request: Request) -> Session:
    """Return the session of the user who sent a request."""
    session: Session = request.state.session
    return session


async def board_of(request: Request) -> JobBoard:
    """Return the job board of the user who sent a request."""
    boards: Boards = request.app.state.boards
    return await boards.load(request.state.session)


async def streams_of(request: Request) -> OpenStreams:
    """Return the application's open event streams."""
    streams: OpenStreams = request.app.state.streams
    return streams


Mig = Annotated[Session, Depends(session_of)]
Board = Annotated[JobBoard, Depends(board_of)]
Streams = Annotated[OpenStreams, Depends(streams_of)]
LastEventId = Annotated[str | None, Header(alias="Last-Event-ID")]
