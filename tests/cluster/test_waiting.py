"""`xstilts status` and the step's log say within 30 s why a group waits."""

import re
import time
from collections.abc import Callable

import pytest

from components.launch.lease import cancel
from tests.cluster.kube import until
from tests.cluster.runs import Run

#: Seconds after which the reason is known.
SOON = 30.0


def _no_node(run: Run) -> Run:
    run.change_cluster(lambda cluster: cluster.update(node_selector={"xstilts.dev/test": "none"}))
    return run


CASES: dict[str, tuple[Callable[[Run], Run], str]] = {
    "no image": (
        lambda run: run.with_settings(XSTILTS_WORKER_IMAGE="localhost/xstilts/absent:1"),
        r"pods?: image localhost/xstilts/absent:1 cannot be pulled: ",
    ),
    "no node": (_no_node, r"worker pods: not scheduled: .*didn't match"),
    "no quota": (lambda run: run, r"the operator cannot create a pod: exceeded quota: xstilts"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_reason_is_known_within_30_seconds(
    idle: Run, quota: Callable[[int], None], case: str
) -> None:
    prepare, reason = CASES[case]
    if case == "no quota":
        quota(0)
    run = prepare(idle)
    task = run.finetune()
    run.job()
    begun = time.monotonic()
    said = until(
        lambda: re.search(reason, text := run.status()) and text,
        lambda: f"{reason} in {run.status()}",
        60,
        1,
    )
    assert time.monotonic() - begun < SOON
    assert re.search(reason, task.log())
    print(said)
    cancel(run.store, run.folder)
    task.wait_for_failure()
    assert "was cancelled" in task.log()
    run.wait_for_no_orphan(30)
    assert "cancelled" in run.status()
