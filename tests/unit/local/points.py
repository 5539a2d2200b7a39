"""The functions of local mode at which tests kill or interrupt a program, by name."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from aiomig._local import attempt, results, takeover
from aiomig._local.actions import Actions
from aiomig._local.attempt import Attempt
from aiomig._local.control_file import Control
from aiomig._local.inputs import Inputs
from aiomig._local.job_folder import JobFolder
from aiomig._local.results import Results
from aiomig._local.runner import AttemptRunner
from aiomig._local.scheduler import Scheduler
from aiomig._local.store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping

POINTS: Mapping[str, tuple[Any, str]] = {
    "Attempt.clean": (Attempt, "clean"),
    "Attempt.conclude": (Attempt, "conclude"),
    "Results.keep_output": (Results, "keep_output"),
    "Attempt.run": (Attempt, "run"),
    "Attempt.supervise": (Attempt, "supervise"),
    "AttemptRunner.attempt_task": (AttemptRunner, "_attempt_task"),
    "AttemptRunner.run_attempt": (AttemptRunner, "_run_attempt"),
    "Control.claim": (Control, "claim"),
    "JobFolder.write": (JobFolder, "write"),
    "Scheduler.advance": (Scheduler, "advance"),
    "Actions.apply": (Actions, "_apply"),
    "Scheduler.exited": (Scheduler, "_exited"),
    "Scheduler.publish": (Scheduler, "publish"),
    "Scheduler.record": (Scheduler, "_record"),
    "Scheduler.take_candidates": (Scheduler, "_take_candidates"),
    "Inputs.fetch": (Inputs, "fetch"),
    "Results.report": (Results, "_report"),
    "Results.send": (Results, "send"),
    "Results.send_one": (Results, "_send_one"),
    "Store.adopt": (Store, "adopt"),
    "Store.claim": (Store, "claim"),
    "Store.fail": (Store, "fail"),
    "Store.finish": (Store, "finish"),
    "Store.insert": (Store, "insert"),
    "Store.unclaim": (Store, "unclaim"),
    "hand_over": (results, "hand_over"),
    "os.link": (os, "link"),
    "os.rename": (os, "rename"),
    "os.replace": (os, "replace"),
    "os.unlink": (os, "unlink"),
    "resume": (takeover, "resume"),
    "spawn": (attempt, "spawn"),
    "verify": (Results, "verify"),
}
"""The function of each point: its owner, and its name there."""
