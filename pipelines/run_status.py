"""What `xstilts status`, `wait` and `logs` know of a run on a cluster, and waiting for its end."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.launch.waiting import recorded as recorded_waits
from pipelines.cluster_runs import kfp_id, run_document, totals
from pipelines.failures import grouped_failures
from pipelines.kfp.error_texts import KfpError
from pipelines.kfp.kfp_client import Kfp
from pipelines.outages import Outages
from pipelines.run_state import DELETED, Facts, RunState, Wait, state_of
from xstilts.store.store import Store

log = logging.getLogger(__name__)

Say = Callable[[str], None]
#: Kinds of steps whose failures a run survives.
_GROUP_KINDS = ("finetune", "score")


@dataclass(frozen=True)
class RunStatus:
    """A run at one moment.

    Attributes:
        run: its name.
        state: its state.
        document: `run.json`.
        steps: kind → (finished, all) of its steps, empty before the plan step has finished.
        failures: recorded failures; none of a cancelled run, which ended its groups itself.
        waits: groups that cannot run yet.
        missing: cells that the report lacks.
        kfp: {run_id, state, url} if KFP was asked.
    """

    run: str
    state: RunState
    document: Mapping[str, Any]
    steps: Mapping[str, tuple[int, int]]
    failures: list[Mapping[str, Any]]
    waits: list[Wait]
    missing: list[Any]
    kfp: Mapping[str, Any] | None

    def json(self) -> dict[str, Any]:
        """The output of `xstilts status --json`."""
        return {
            "run": self.run,
            "state": self.state.state,
            "reason": self.state.reason,
            "exit_code": self.state.exit_code,
            "mirror": self.document["mirror"],
            "created": self.document["created"],
            "schedule": self.document.get("schedule"),
            "steps": {kind: {"done": n, "of": of} for kind, (n, of) in self.steps.items()},
            "waiting": [{"work": w.work, "reasons": list(w.reasons)} for w in self.waits],
            "failures": self.failures,
            "missing": self.missing,
            "kfp": self.kfp,
        }

    def progress(self) -> str:
        """For example `running  records 4/6  encode 0/2`."""
        parts = [f"{kind} {done}/{of}" for kind, (done, of) in self.steps.items() if of]
        return "  ".join([str(self.state), *parts])


def status_of(store: Store, run: str, kfp: Kfp | None = None) -> RunStatus:
    """The state of a run, from its folder and, with `kfp`, from KFP. Raises PlanError for an
    unknown run.
    """
    document = run_document(store, run)
    shown = None if kfp is None else _kfp_view(kfp, kfp_id(store, run))
    failures, group_failures = _failures(store, run)
    outcome = store.get_json(f"runs/{run}/status.json")
    known = totals(store, run)
    waits = [
        Wait(f"{w.kind}-{w.group}", f"{w.kind} {w.group}", w.reasons, w.state == "running")
        for w in recorded_waits(store, f"runs/{run}", time.time())
    ]
    leases = store.list(f"runs/{run}/leases/")
    state = state_of(
        Facts(
            kfp=() if shown is None else shown["history"],
            planned=bool(known) or outcome is not None,
            exit_code=None if outcome is None else int(outcome["exit_code"]),
            missing=0 if outcome is None else len(outcome["missing"]),
            cancelled=store.get_json(f"runs/{run}/cancelled.json") is not None,
            failures=failures,
            group_failures=group_failures,
            working=frozenset(Path(key).stem for key in leases),
            waits=waits,
        )
    )
    over = state.ended or state.state == "cancelled"
    return RunStatus(
        run,
        state,
        document,
        {kind: (len(store.finished(kind, steps)), len(steps)) for kind, steps in known.items()},
        [] if state.state == "cancelled" else [*failures, *group_failures],
        [] if over else waits,
        [] if outcome is None else outcome["missing"],
        shown,
    )


def _kfp_view(kfp: Kfp, run_id: str) -> dict[str, Any]:
    try:
        answer = kfp.run(run_id)
    except KfpError as error:
        if error.status != 404 or f"Run {run_id} not found" not in str(error):
            raise
        history, state = [DELETED], DELETED
    else:
        state = str(answer.state or "PENDING")
        history = [str(each.state) for each in answer.state_history or () if each.state]
        history += [] if history[-1:] == [state] else [state]
    return {"run_id": run_id, "state": state, "history": history, "url": kfp.url(run_id)}


def _failures(store: Store, run: str) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """(failures of plan, batches and report, failures of groups and their steps)."""
    fatal: list[Mapping[str, Any]] = []
    of_groups: list[Mapping[str, Any]] = []
    for key in store.list(f"runs/{run}/failures/"):
        document = store.get_json(key)
        if document is not None:
            in_group = Path(key).name.partition("-")[0] in _GROUP_KINDS
            (of_groups if in_group else fatal).append(document)
    return fatal, of_groups


@dataclass(frozen=True)
class KfpServer:
    """How to reach KFP. host: None takes the one that `submit` recorded."""

    host: str | None = None
    namespace: str | None = None
    ca_cert: Path | None = None

    def client(self, store: Store, run: str) -> Kfp | None:
        """A client, None if no address is known."""
        host = self.host or (store.get_json(f"runs/{run}/kfp.json") or {}).get("host")
        return Kfp(host, self.namespace, self.ca_cert) if host else None

    def options(self) -> str:
        """The options that lead to this server, for a command line to copy."""
        pairs = {"host": self.host, "namespace": self.namespace, "ca-cert": self.ca_cert}
        return "".join(f" --{name} {value}" for name, value in pairs.items() if value)


def wait(
    store: Store, run: str, kfp: Kfp | None, every: float, say: Say, warn: Say,
    outages: Outages | None = None, note: Say | None = None,
) -> int:  # fmt: skip
    """Prints a run's state and progress whenever they change, until the run has ended. Returns its
    exit code.

    Args:
        store: of the run.
        run: its name.
        kfp: KFP, None if no address is known.
        every: seconds between two looks.
        say: receives the outcome.
        warn: receives failures and outages.
        outages: how long the store and KFP may be away.
        note: receives the progress; `say` if None.
    """
    note = note or say
    outages = outages or Outages(warn)
    started, last = time.monotonic(), ""
    while True:
        status = outages.outlast(lambda: status_of(store, run, kfp))
        log.info("%s: %s", run, "; ".join([status.progress(), *map(str, status.waits)]))
        if (line := status.progress()) != last:
            note(f"  {time.monotonic() - started:5.0f} s  {line}")
            last = line
        if status.state.ended:
            break
        outages.sleep(every)
    for line in grouped_failures(status.failures):
        warn(line)
    code = status.state.exit_code or 0
    say(f"{run}: {status.state}, exit code {code}")
    return code
