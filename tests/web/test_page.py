"""The page in a real browser: Debian's Chromium, controlled by Playwright. Skipped if they are not installed."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
import sys
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .test_serve import TOKEN, service, submitted

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
AXE = Path(__file__).parents[2] / ".axe" / "node_modules" / "axe-core" / "axe.min.js"
SHOTS = Path(__file__).parents[2] / "results" / "web"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (apt-get install chromium)")

EVIL = "<img src=x onerror=window.hacked=1>\"'><script>window.hacked=1</script>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Provide one browser for all tests."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, httpx.Client]]:
    """Provide a service that tests share: the parent directory of its home, and a client."""
    folder = tmp_path_factory.mktemp("service")
    with service(folder / "home", "--slots", "4") as (_, client):
        yield folder, client


@contextmanager
def page_at(browser: Browser, client: httpx.Client, **options: Any) -> Iterator[Page]:
    """Open the page with its token. At the end, check that it executed no content and reported no errors."""
    context = browser.new_context(**options)
    page = context.new_page()
    page.set_default_timeout(20_000)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: errors.append(request.url) if not _is_own(request.url, client) else None)
    page.goto(f"{client.base_url}?token={TOKEN}")
    page.get_by_text("live", exact=True).wait_for()
    yield page
    assert page.evaluate("window.hacked") is None
    context.close()
    assert [error for error in errors if not error.startswith("Failed to load resource")] == []


def _is_own(url: str, client: httpx.Client) -> bool:
    return url.startswith((str(client.base_url), "blob:"))


def row(page: Page, name: str) -> Any:
    return page.locator("#jobs tbody tr", has_text=name)


def picture() -> bytes:
    """Return a small PNG."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 2, 2, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" + bytes(6) + b"\0" + bytes(6))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def test_submit_with_a_file_then_watch_and_download(
    browser: Browser, running: tuple[Path, httpx.Client], tmp_path: Path
) -> None:
    folder, client = running
    gate = folder / "gate-1"
    os.mkfifo(gate)
    (tmp_path / "numbers.txt").write_text("3\n1\n2\n")
    (tmp_path / "plot.png").write_bytes(picture())
    with page_at(browser, client) as page:
        page.get_by_role("button", name="New job").click()
        page.get_by_label("Commands").fill(
            f"echo before the gate\nread line < {gate}\nsort numbers.txt > sorted.txt\ncp plot.png out.png\necho after"
        )
        page.get_by_label("Name letters").fill("sorter")
        page.locator("#submit-files").set_input_files([tmp_path / "numbers.txt", tmp_path / "plot.png"])
        page.get_by_label("Outputs").fill("sorted.txt\nout.png")
        page.get_by_role("button", name="Submit", exact=True).click()
        panel = page.get_by_role("complementary")
        panel.get_by_text("EXECUTING").wait_for()
        panel.get_by_text("before the gate", exact=True).wait_for()  # live, because the job cannot continue yet
        assert panel.get_by_text("after", exact=True).count() == 0
        gate.write_text("go\n")
        panel.get_by_text("FINISHED").wait_for()
        page.locator("#detail-output", has_text="after").wait_for()
        panel.get_by_role("button", name="Preview").first.click()
        panel.get_by_text("1\n2\n3").wait_for()
        panel.get_by_role("button", name="Preview").nth(1).click()
        image = panel.get_by_alt_text("Preview of out.png")
        image.wait_for()
        page.wait_for_function("document.querySelector('.preview img').naturalWidth === 2")
        with page.expect_download() as download:
            panel.get_by_role("link", name="Download sorted.txt").click()
        assert Path(download.value.path()).read_text() == "1\n2\n3\n"
        with page.expect_download() as download:
            panel.get_by_role("link", name="Download all as one zip").click()
        assert Path(download.value.path()).read_bytes().startswith(b"PK")
        row(page, "sorter").get_by_text("FINISHED").wait_for()


def test_cancel_and_submit_again_with_changes(browser: Browser, running: tuple[Path, httpx.Client]) -> None:
    folder, client = running
    gate = folder / "gate-2"
    os.mkfifo(gate)
    job = client.post(
        "/api/jobs",
        json={
            "commands": ["cat in.txt", f"read line < {gate}"],
            "name": "to-cancel",
            "inputs": [{"name": "in.txt", "text": "kept input\n"}],
        },
    ).json()
    with page_at(browser, client) as page:
        row(page, "to-cancel").click()
        panel = page.get_by_role("complementary")
        panel.get_by_role("button", name="Cancel").click()
        page.get_by_role("button", name="Cancel the job").click()
        panel.get_by_text("CANCELED").wait_for()
        assert client.get(f"/api/jobs/{job['id']}").json()["state"] == "CANCELED"
        panel.get_by_role("button", name="Change and submit").click()
        assert page.locator("#submit-commands").input_value() == f"cat in.txt\nread line < {gate}"
        page.locator("#submit-commands").fill("cat in.txt; echo changed")
        page.get_by_role("button", name="Submit", exact=True).click()
        page.locator("#detail-output", has_text="changed").wait_for()
        assert "kept input" in page.locator("#detail-output").inner_text()


def test_the_form_shows_errors(browser: Browser, running: tuple[Path, httpx.Client]) -> None:
    with page_at(browser, running[1]) as page:
        page.keyboard.press("n")
        page.get_by_label("Commands").fill("true")
        page.get_by_label("Name letters").fill("two words")
        page.get_by_role("button", name="Submit", exact=True).click()
        page.locator("#submit-error", has_text="name").wait_for()
        page.keyboard.press("Escape")
        page.locator("#submit").wait_for(state="hidden")


def test_the_page_works_by_keyboard(browser: Browser, running: tuple[Path, httpx.Client]) -> None:
    client = running[1]
    for number in range(3):
        submitted(client, f"echo key {number}")
    with page_at(browser, client) as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to content"
        page.keyboard.press("/")
        page.keyboard.type("_local.0")
        for _ in range(20):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.tagName") == "TR":
                break
        first = page.evaluate("document.activeElement.dataset.id")
        page.keyboard.press("ArrowDown")
        second = page.evaluate("document.activeElement.dataset.id")
        assert second not in (None, first)
        page.keyboard.press("End")
        page.keyboard.press("Home")
        assert page.evaluate("document.activeElement.dataset.id") == first
        page.keyboard.press("Enter")
        page.locator("#detail-id", has_text=first).wait_for()
        assert page.evaluate("document.activeElement.id") == "detail"
        page.keyboard.press("Escape")
        page.locator("#detail").wait_for(state="hidden")
        page.wait_for_function("document.activeElement.tagName === 'TR'")
        page.keyboard.press("n")
        page.keyboard.type("echo typed")
        for _ in range(12):
            if page.evaluate("document.activeElement.id") == "submit-send":
                break
            page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.locator("#detail-output", has_text="typed").wait_for()


def test_the_home_takes_files_by_drag_and_drop(browser: Browser, running: tuple[Path, httpx.Client]) -> None:
    client = running[1]
    with page_at(browser, client) as page:
        page.get_by_role("link", name="Files").click()
        page.get_by_role("button", name="New folder").click()
        page.get_by_label("Name", exact=True).fill("folder")
        page.get_by_role("button", name="Create").click()
        page.get_by_role("link", name="folder/").click()
        page.get_by_text("This directory is empty").wait_for()
        page.evaluate(
            """() => {
                const data = new DataTransfer();
                data.items.add(new File(["dropped"], "drop.txt"));
                const drop = new DragEvent("drop", {dataTransfer: data, bubbles: true});
                document.getElementById("drop").dispatchEvent(drop);
            }"""
        )
        page.get_by_role("button", name="View drop.txt").click()
        page.get_by_role("dialog").get_by_text("dropped").wait_for()
        page.keyboard.press("Escape")
        with page.expect_download() as download:
            page.get_by_role("link", name="Save drop.txt").click()
        assert Path(download.value.path()).read_text() == "dropped"
        page.get_by_role("button", name="Delete drop.txt").click()
        page.get_by_role("button", name="Delete", exact=True).click()
        page.get_by_text("This directory is empty").wait_for()
    assert client.get("/api/files", params={"path": "folder"}).json()["files"] == []


def test_displayed_content_is_not_executed(browser: Browser, running: tuple[Path, httpx.Client]) -> None:
    folder, client = running
    output = "evil<img src=x onerror=window.hacked=1>.html"
    reply = client.post(
        "/api/jobs",
        json={
            "commands": [f"cat evil.txt; cat evil.txt >&2; cp evil.txt {output!r}", f"# {EVIL}"],
            "inputs": [{"name": "evil.txt", "text": EVIL}],
            "outputs": [output],
            "environment": {"EVIL": EVIL},
            "name": "hostile",
        },
    )
    if reply.status_code == 422:  # MiG does not accept the name; the form shows the message
        assert "output" in reply.text
        reply = client.post(
            "/api/jobs",
            json={
                "commands": ["cat evil.txt; cat evil.txt >&2; cp evil.txt evil.html", f"# {EVIL}"],
                "inputs": [{"name": "evil.txt", "text": EVIL}],
                "outputs": ["evil.html"],
                "name": "hostile",
            },
        )
    job_id = reply.json()["id"]
    client.get(f"/api/jobs/{job_id}/result", params={"wait": 60})
    (folder / "home" / EVIL.replace("/", "_")).write_text(EVIL)
    with page_at(browser, client) as page:
        row(page, "hostile").click()
        page.locator("#detail-output", has_text="onerror").wait_for()
        page.get_by_role("tab", name="stderr").click()
        page.locator("#detail-output", has_text="onerror").wait_for()
        page.get_by_role("button", name="Preview").first.click()
        page.locator("#detail-preview pre", has_text="<script>").wait_for()
        page.get_by_role("button", name="Change and submit").click()
        page.get_by_role("button", name="Close", exact=True).last.click()
        page.goto(f"{client.base_url}#/timeline")
        page.get_by_role("link", name="hostile").wait_for()
        page.goto(f"{client.base_url}#/files")
        page.locator("#files", has_text="onerror").wait_for()
        page.goto(f"{client.base_url}#/job/{EVIL.replace('/', '%2F')}")
        page.locator("#detail .error").wait_for()


def test_a_restart_of_the_service_under_an_open_page(browser: Browser, tmp_path: Path) -> None:
    home, gate = tmp_path / "home", tmp_path / "gate"
    os.mkfifo(gate)
    with service(home) as (process, client):
        port = str(client.base_url.port)
        submitted(client, f"read line < {gate}; echo survived")
        with page_at(browser, client) as page:
            row(page, "EXECUTING").click()
            page.locator("#detail-facts", has_text="EXECUTING").wait_for()
            process.terminate()
            assert process.wait(5) is not None
            page.get_by_text("reconnecting").wait_for()
            gate.write_text("go\n")  # the job ends while no service runs
            command = [sys.executable, "-m", "aiomig", "-q", "--home", str(home), "serve", "--port", port]
            environment = {**os.environ, "AIOMIG_TOKEN": TOKEN}
            with subprocess.Popen(command, env=environment) as again:
                try:
                    page.get_by_text("live", exact=True).wait_for()
                    page.locator("#detail-facts", has_text="FINISHED").wait_for()
                    row(page, "FINISHED").wait_for()
                    page.locator("#detail-output", has_text="survived").wait_for()
                finally:
                    again.kill()


GRID = """
import socket, sys
from pathlib import Path
import anyio, uvicorn
import aiomig
from aiomig.testing import FakeGrid, Site
from aiomig.web import create_app

async def main():
    folder = Path(sys.argv[1])
    site = Site(parse_time=0.02, liveio_interval=0.0, liveio_time=0.0)
    async with FakeGrid(folder / "ada", site=site) as grid, grid.serve() as address:
        users = {"ada": grid.user, "bob": "/C=DK/ST=NA/L=NA/O=NBI/OU=NA/CN=Bob/emailAddress=bob@example.org"}

        def open_session(user):
            config = address.config(users[user])
            polling = aiomig.Polling(floor=0.05, ceiling=0.2, gather=0.0, requests_a_minute=1_000_000)
            limits = aiomig.RequestLimits(output_interval=0.05, live_output=0.0)
            return aiomig.grid(config, polling=polling, request_limits=limits, journal=False)

        pool = aiomig.SessionPool(open_session)
        app = create_app(pool, authenticate=lambda request: request.cookies.get("user"))
        listener = socket.create_server(("127.0.0.1", 0))
        print(listener.getsockname()[1], flush=True)
        config = uvicorn.Config(app, log_config=None, ws="none", timeout_graceful_shutdown=1)
        await uvicorn.Server(config).serve([listener])

anyio.run(main)
"""


def test_two_users_on_a_grid_over_tls(browser: Browser, tmp_path: Path) -> None:
    command = [sys.executable, "-c", GRID, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = f"http://127.0.0.1:{process.stdout.readline().strip()}"
        try:
            pages = {}
            for user in ("ada", "bob"):
                context = browser.new_context()
                context.add_cookies([{"name": "user", "value": user, "url": url}])
                pages[user] = context.new_page()
                pages[user].set_default_timeout(30_000)
                pages[user].goto(url)
                pages[user].get_by_text("live", exact=True).wait_for()
            for user, page in pages.items():
                page.keyboard.press("n")
                page.get_by_label("Commands").fill(f"echo of {user} > out.txt; cat out.txt")
                page.get_by_label("Name letters").fill(f"job-of-{user}")
                page.get_by_label("Outputs").fill("out.txt")
                page.get_by_role("button", name="Submit", exact=True).click()
                page.locator("#detail-facts", has_text="FINISHED").wait_for()
                page.locator("#detail-output", has_text=f"of {user}").wait_for()
                with page.expect_download() as download:
                    page.get_by_role("link", name="Download out.txt").click()
                assert Path(download.value.path()).read_text() == f"of {user}\n"
            for user, page in pages.items():
                page.get_by_text("1 job", exact=True).wait_for()
                assert page.locator("#jobs tbody tr[data-id]").count() == 1
                row(page, f"job-of-{user}").wait_for()
            foreign = pages["ada"].url.partition("#/job/")[2]
            pages["bob"].goto(f"{url}#/job/{foreign}")
            pages["bob"].get_by_text("no such job").wait_for()
            for page in pages.values():
                page.context.close()
        finally:
            process.kill()


SEED = """
import sys, anyio, aiomig
async def main():
    async with aiomig.local(sys.argv[1], slots=1, on_exit="leave") as mig:
        await mig.submit("sleep 1000", name="first")
        jobs = await mig.submit_many(aiomig.JobSpec("true", name=f"fit-{number:04}") for number in range(5000))
        await mig.cancel(jobs[::2])
anyio.run(main)
"""


def test_five_thousand_jobs_appear_quickly(browser: Browser, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", SEED, str(tmp_path / "home")], check=True)
    with service(tmp_path / "home", "--slots", "1") as (_, client):
        client.get("/api/jobs", params={"limit": 1})
        with page_at(browser, client) as page:
            page.get_by_text("5001 jobs").wait_for()
            page.reload()
            page.locator("#jobs tbody tr[data-id]").first.wait_for()
            page.get_by_text("5001 jobs").wait_for()
            assert page.locator("#jobs tbody tr").count() < 100, "only the rows in sight are in the document"
            page.get_by_label("Filter by name or id").fill("fit-0042")
            page.get_by_text("1 of 5001 jobs").wait_for()
            page.get_by_label("Filter by name or id").fill("")
            page.get_by_role("button", name="Name", exact=True).click()
            row(page, "fit-0000").wait_for()
            page.locator("#jobs-scroll").evaluate("element => { element.scrollTop = element.scrollHeight; }")
            row(page, "fit-4999").wait_for()
        for job in client.get("/api/jobs", params={"name": "first"}).json()["jobs"]:
            client.post(f"/api/jobs/{job['id']}/cancel")


def violations(page: Page) -> list[Any]:
    found: list[Any] = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    return found


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed (npm install --prefix .axe axe-core)")
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_axe_finds_no_violations(browser: Browser, running: tuple[Path, httpx.Client], scheme: str, width: int) -> None:
    client = running[1]
    job = client.post("/api/jobs", json={"commands": "echo a > a.txt", "outputs": ["a.txt"], "name": "axe"}).json()
    client.get(f"/api/jobs/{job['id']}/result", params={"wait": 60})
    client.put("/api/files/axe.txt", content=b"text")
    SHOTS.mkdir(parents=True, exist_ok=True)
    size = {"width": width, "height": 800}
    with page_at(browser, client, color_scheme=scheme, viewport=size, bypass_csp=True) as page:
        page.add_script_tag(path=AXE)
        for view in ("jobs", f"job/{job['id']}", "timeline", "files", "submit"):
            if view == "submit":
                page.keyboard.press("n")
                page.get_by_text("More", exact=True).click()
            else:
                page.goto(f"{client.base_url}#/{view}")
                page.locator({"timeline": "#timeline a", "files": "#files td"}.get(view, "#jobs td")).first.wait_for(
                    state="attached"
                )
                if view.startswith("job/"):
                    page.get_by_role("link", name="Download a.txt").wait_for()
            name = re.sub(r"\W.*", "", view)
            page.screenshot(path=SHOTS / f"test-{name}-{scheme}-{width}.png")
            # Check again if there are any, because the page may have changed during the check.
            found = violations(page) and violations(page)
            assert [(violation["id"], violation["nodes"][0]["html"]) for violation in found] == [], view


def test_without_a_token_the_page_asks_for_it(browser: Browser, running: tuple[Path, httpx.Client]) -> None:
    client = running[1]
    context = browser.new_context()
    page = context.new_page()
    page.goto(str(client.base_url))
    page.get_by_label("Token").fill("wrong")
    page.get_by_role("button", name="Open").click()
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Open").click()
    page.get_by_text("live", exact=True).wait_for()
    assert "token" not in page.url
    (cookie,) = context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    context.close()
