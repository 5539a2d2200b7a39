"""A web service that draws the Mandelbrot set with jobs. Each user has their own session, jobs and files.

POST /pictures submits a job for a part of the plane, GET /pictures/ID waits for the picture, and /jobs/ is aiomig's
page and API. By default the program calls its own service as a demonstration; --serve PORT serves it and prints a URL
for each user.
"""

import argparse
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx
import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, RedirectResponse, StreamingResponse
from pydantic import BaseModel

import aiomig
from aiomig.web import create_app

PROGRAM = Path(__file__).with_name("mandelbrot.py")


class Place(BaseModel):  # the center and width of the part of the plane to draw
    x: float = -0.6
    y: float = 0.0
    width: float = 3.0


def make_service(pool: aiomig.SessionPool[str], keys: dict[str, str]) -> FastAPI:
    """Return the application. `keys` are the users' secrets; a real service would use its own user database."""

    def user_of(request: Request) -> str | None:
        """Return the user whose key is in the request. Programs send the key in a header, browsers in a cookie."""
        key = request.headers.get("authorization", "").partition("Bearer ")[2] or request.cookies.get("key", "")
        return next((user for user in keys if secrets.compare_digest(keys[user].encode(), key.encode())), None)

    async def session_of(request: Request) -> AsyncIterator[aiomig.Session]:
        if (user := user_of(request)) is None:
            raise HTTPException(401, "log in first")
        async with pool.session(user) as mig:
            yield mig

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with pool:
            yield

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None)
    session = Depends(session_of)

    @app.exception_handler(aiomig.JobNotFound)
    async def not_found(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": "there is no such picture"}, 404)

    @app.get("/login")
    async def login(key: str) -> RedirectResponse:
        response = RedirectResponse("/jobs/", 303)
        response.set_cookie("key", key, httponly=True, samesite="strict")
        return response

    @app.post("/pictures", status_code=202)
    async def draw(place: Place, mig: aiomig.Session = session) -> dict[str, str]:
        command = f"python3 mandelbrot.py {place.x} {place.y} {place.width} picture.png"
        job = await mig.submit(command, inputs=[PROGRAM], outputs=["picture.png"], name="mandelbrot")
        return {"id": job.id}

    @app.get("/pictures/{job_id}")
    async def picture(job_id: str, mig: aiomig.Session = session) -> StreamingResponse:
        job = mig.job(job_id)
        with anyio.move_on_after(60):  # stops waiting, but does not cancel the job
            await job.wait()
        if not (files := await job.outputs()):
            raise HTTPException(404, "there is no picture yet, or the job failed; see /jobs/")
        return StreamingResponse(mig.files.stream(files[0].path), media_type="image/png")

    app.mount("/jobs", create_app(pool, authenticate=user_of))
    return app


async def demonstrate(app: FastAPI, keys: dict[str, str]) -> None:
    http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://pictures")
    async with app.router.lifespan_context(app), http:
        first, *others = ({"Authorization": f"Bearer {key}"} for key in keys.values())
        job_id = (await http.post("/pictures", json={"width": 2.5}, headers=first)).json()["id"]
        picture = await http.get(f"/pictures/{job_id}", headers=first, timeout=70)
        print("picture:", picture.headers["content-type"], picture.content[1:4].decode())
        jobs = (await http.get("/jobs/api/jobs", headers=first)).json()["jobs"]
        print("on the page:", *(f"{job['name']} {job['state']}" for job in jobs if job["id"] == job_id))
        for other in (*others, {}):
            print("others:", (await http.get(f"/pictures/{job_id}", headers=other)).status_code)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    modes = parser.add_mutually_exclusive_group()
    modes.add_argument("--local", action="store_true", help="on this machine, for the users ada and bob")
    modes.add_argument("--grid", metavar="FOLDER", help="on a grid, for each user with a USER.conf in a directory")
    parser.add_argument("--serve", type=int, metavar="PORT", help="serve the service on this machine")
    options = parser.parse_args()
    configs = {path.stem: path for path in sorted(Path(options.grid).glob("*.conf"))} if options.grid else {}
    homes = Path(os.environ.get("AIOMIG_HOME") or Path.home() / "pictures")

    def open_session(user: str) -> aiomig.Session:
        return aiomig.grid(configs[user]) if configs else aiomig.local(homes / user, on_exit="leave", shared_slots=True)

    pool = aiomig.SessionPool(open_session)
    keys = {user: secrets.token_urlsafe() for user in configs or ("ada", "bob")}
    app = make_service(pool, keys)
    if options.serve is None:
        anyio.run(demonstrate, app, keys)
    else:
        for user, key in keys.items():
            print(f"{user}: http://127.0.0.1:{options.serve}/login?key={key}", flush=True)
        uvicorn.run(app, port=options.serve, timeout_graceful_shutdown=3)
