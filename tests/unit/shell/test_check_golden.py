"""The check of commands on the recorded runs of a real server."""

from __future__ import annotations

from contextlib import suppress

import aiomig
from aiomig._shell.check import CommandCheck, Verdict
from tests.golden.runs import run_of
from tests.testing.test_golden import DIFFERENT, RECORDINGS


async def test_commands_are_refused_where_bash_cannot_read_them() -> None:
    """No other run gives a fault. Warnings are about runs that lost their results or could have lost them."""
    found: dict[str, Verdict] = {}
    for name, recording in RECORDINGS.items():
        with suppress(aiomig.SpecError):
            found[name] = await CommandCheck().verdict(aiomig.JobSpec.from_mrsl(run_of(recording, {}).mrsl).commands)
    wrong = {name for name, verdict in found.items() if verdict.faults}
    assert wrong == {name for name, (what, _) in DIFFERENT.items() if what == "refused commands"}
    warned = {name: run_of(RECORDINGS[name], {}).final["status"] for name, verdict in found.items() if verdict.warnings}
    lucky = {
        "no-blank-line",
        "exec-true",
        "retry-then-ok",
        "set-e-ok",
        "quote-double",
        "quote-last",
        "quote-single",
    }  # the first ran a keyword
    lost = {"exit3-early", "missing-plus-retry", "out-exit3", "output-before-fail", "retry-default", "retry-exit3"}
    lost |= {"set-e-false", "set-u", "hash-raw"}
    assert warned == {**dict.fromkeys(lucky, "FINISHED"), **dict.fromkeys(lost, "FAILED")}
