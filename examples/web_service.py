"""A web service that runs jobs: POST numbers, GET them sorted. As a demonstration, it is its own client."""

import argparse
import json

import anyio
import httpx

import aiomig


class Sorter:  # for any ASGI server; with Starlette and FastAPI, open the session in the lifespan
    def __init__(self, mig: aiomig.Session) -> None:
        self.mig = mig  # opened with the service, shared by all requests

    async def __call__(self, scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        if scope["type"] == "lifespan":
            await receive()
            async with self.mig:
                await send({"type": "lifespan.startup.complete"})
                await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        status, content = await (self.submit(body) if scope["method"] == "POST" else self.result(scope["path"][1:]))
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(content).encode()})

    async def submit(self, body: bytes) -> tuple[int, object]:
        job = await self.mig.submit("sort -n numbers", inputs=[(body, "numbers")], name="sort")
        return 202, {"id": job.id}

    async def result(self, job_id: str) -> tuple[int, object]:
        try:
            with anyio.fail_after(60):  # gives up waiting, not the job: ask again
                return 200, (await self.mig.job(job_id)).stdout.split()
        except TimeoutError:
            return 202, {"id": job_id}
        except aiomig.JobNotFound:
            return 404, "no such job"


async def main(options: argparse.Namespace) -> None:
    app = Sorter(aiomig.connect("grid" if options.config else options.mode, config=options.config))
    async with app.mig, httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://sorter") as http:
        made = (await http.post("/", content=b"10\n9\n1\n")).json()
        print("sorted:", *(await http.get(f"/{made['id']}")).json())
        print("unknown:", (await http.get("/no-such-job")).status_code)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--local", dest="mode", action="store_const", const="local", help="on this machine")
    place.add_argument("--grid", dest="config", metavar="CONFIG", help="on the grid of this miguser.conf")
    anyio.run(main, parser.parse_args())
