"""Large JSON, parsed in pieces: the same values and errors, in bounded steps and memory."""

from __future__ import annotations

import json
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

import aiomig
from aiomig import MigError
from aiomig._grid.protocol.json_pieces import Excess, load_json
from tests.unit.recordings import finished

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


def in_pieces(body: bytes) -> Any:
    return finished(load_json(body, whole=0))


@given(VALUES, st.sampled_from([None, 1, "\t"]), st.booleans())
def test_it_is_what_json_says(value: Any, indent: Any, ascii_only: bool) -> None:
    body = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    assert in_pieces(f" {body.decode()}\n".encode()) == value
    assert finished(load_json(body)) == value


@given(VALUES, st.integers(0, 200), st.binary(max_size=3))
def test_what_is_not_json_is_an_error(value: Any, at: int, inserted: bytes) -> None:
    whole = json.dumps(value).encode()
    at = min(at, len(whole))
    body = whole[:at] + inserted + whole[at + len(inserted) :]
    try:
        expected = json.loads(body.decode())
    except ValueError:
        with pytest.raises(ValueError):  # noqa: PT011 - as json.loads raises it
            in_pieces(body)
    else:
        assert repr(in_pieces(body)) == repr(expected)


def rows(count: int, **more: Any) -> list[dict[str, Any]]:
    return [{"object_type": "job", "job_id": f"{number}_1", **more} for number in range(count)]


@pytest.mark.parametrize(
    "value",
    [
        [{"object_type": "job_list", "jobs": rows(20_000)}, {"object_type": "timing_info"}],
        [{"object_type": "job_list", "jobs": rows(9_000, execution_histories=rows(2), text='"}, {"object_type"')}],
        [{}] * 200_000,
        [[]] * 200_000,
        ["ab"] * 200_000,
        [1, "b", None, {"c": [2.5]}] * 50_000,
        {f"key{number}": number for number in range(100_000)},
        ["x" * 1_000_000, {"æ☃" * 100_000: "\n" * 10_000}],
    ],
    ids=["jobs", "histories", "objects", "lists", "texts", "mixed", "members", "long"],
)
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")], ids=["compact", "blanks"])
def test_large_values_are_parsed_in_many_steps(value: Any, separators: tuple[str, str]) -> None:
    body = json.dumps(value, separators=separators).encode()
    steps = load_json(body)
    assert len(list(steps)) > len(body) >> 19
    assert finished(load_json(body)) == value


@pytest.mark.parametrize("count", [29, 31, 400, 5000, 1 << 20])
@pytest.mark.parametrize("opening", ["[", '{"":'])
def test_deep_nesting_is_refused(opening: str, count: int) -> None:
    closing = "]" if opening == "[" else "}"
    body = (opening * count + "1" + closing * count).encode()
    if count < 30:
        assert in_pieces(body) == json.loads(body)
        return
    for whole in (0, 1 << 30):
        with pytest.raises(Excess):
            finished(load_json(body, whole))


@pytest.mark.parametrize("member", ["{}", "[]", '{"":0}', '"ab"', "1"])
def test_too_many_values_are_refused(member: str) -> None:
    count = 6_000_000 if len(member) < 6 and member[0] not in "[{" else 2_000_000
    with pytest.raises(Excess, match="too many values"):
        finished(load_json(b"[" + b",".join([member.encode()] * count) + b"]"))


@pytest.mark.parametrize("filling", [b" ", b",", b"[", b"1", b'"', b"\\", b"\xc3\xa6", b'"a":'])
def test_a_large_body_that_makes_no_sense_is_an_error(filling: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - as json.loads raises it
        finished(load_json(b"[" + filling * ((8 << 20) // len(filling)) + b"]"))


@pytest.mark.parametrize("hostile", [False, True], ids=["rows", "objects"])
async def test_a_large_response_lets_other_tasks_run(hostile: bool) -> None:
    jobs = [{"job_id": f"{number}_1", "status": "QUEUED"} for number in range(0 if hostile else 50_000)]
    large = (
        b"[" + b",".join([b"{}"] * 2_000_000) + b"]"
        if hostile
        else json.dumps([{"object_type": "job_list", "jobs": jobs}]).encode()
    )
    turns = 0

    async def tick() -> None:
        nonlocal turns
        while True:
            await anyio.lowlevel.checkpoint()
            turns += 1

    def answer(request: httpx.Request) -> httpx.Response:
        if b"0-aiomig" in request.content:
            words = "0-aiomig: You do not have any matching job IDs!"
            return httpx.Response(200, json=[{"object_type": "error_text", "text": words}])
        return httpx.Response(200, content=large)

    async with (
        aiomig.grid(
            url="https://grid.example.org",
            certificate="c",
            key="k",
            transport=httpx.MockTransport(answer),
            retry=aiomig.Retry(tries=1),
        ) as mig,
        anyio.create_task_group() as group,
    ):
        group.start_soon(tick)
        await anyio.lowlevel.checkpoint()
        before = turns
        if hostile:
            with pytest.raises(MigError):
                await mig.jobs()
        else:
            assert len(await mig.jobs()) == len(jobs)
        assert turns - before > 5
        group.cancel_scope.cancel()
