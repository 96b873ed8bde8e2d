"""The lease: renewal, expiry and cancellation, for a single read and for a watcher."""

import threading
import time

import pytest

from components.launch import lease
from components.launch.lease import SKEW_SECONDS, UNREADABLE, Guard, Keeper, status, watch
from xstilts.errors import StoreError
from xstilts.store.store import Store

RUN, GROUP = "runs/r", "g"


def test_a_lease_is_held_while_it_is_renewed_and_deleted_at_the_end(store: Store) -> None:
    assert status(store, RUN, GROUP, time.time()) == "absent"
    with Keeper(store, RUN, GROUP, "pod-1", 60):
        found = store.get_json("runs/r/leases/g.json")
        assert (found["holder"], found["beat"], found["seconds"]) == ("pod-1", 1, 60)
        assert status(store, RUN, GROUP, time.time()) == "held"
        assert status(store, RUN, GROUP, time.time() + 60 + SKEW_SECONDS + 1) == "expired"
    assert status(store, RUN, GROUP, time.time()) == "absent"


def test_it_is_renewed_by_itself(store: Store) -> None:
    with Keeper(store, RUN, GROUP, "pod-1", 0.3):
        until = time.monotonic() + 10
        while store.get_json("runs/r/leases/g.json")["beat"] < 3:
            assert time.monotonic() < until
            time.sleep(0.02)


def test_a_cancelled_run_is_seen_by_its_keeper_and_stays_cancelled(store: Store) -> None:
    with Keeper(store, RUN, GROUP, "pod-1", 0.3) as keeper:
        lease.cancel(store, RUN)
        assert keeper.cancelled.wait(10)
    assert status(store, RUN, GROUP, time.time()) == "cancelled"
    assert lease.is_cancelled(store, RUN, "another")


def test_a_group_can_be_cancelled_alone(store: Store) -> None:
    store.put_json(
        "runs/r/leases/g.json", {"cancelled": True, "renewed": time.time(), "seconds": 60}
    )
    assert status(store, RUN, GROUP, time.time()) == "cancelled"
    assert status(store, RUN, "another", time.time()) == "absent"
    with Keeper(store, RUN, GROUP, "pod-1", 60) as keeper:
        assert keeper.cancelled.is_set()
    assert status(store, RUN, GROUP, time.time()) == "cancelled"


@pytest.mark.parametrize(
    "events",
    [
        "old new exit",
        "old new old exit",
        "old new old new exit",
        "old old new new old new exit",
    ],
)
def test_an_attempt_that_ends_leaves_the_lease_to_the_next_one(store: Store, events: str) -> None:
    """Whoever renewed last: the other attempt may do so a moment later."""
    attempts = {name: Keeper(store, RUN, GROUP, name, 60) for name in ("old", "new")}
    for event in events.split():
        if event == "exit":
            attempts["old"]._thread.start()
            attempts["old"].__exit__(None, None, None)
        else:
            attempts[event].renew()
    assert status(store, RUN, GROUP, time.time()) == "held"


def renewed(
    store: Store, monkeypatch: pytest.MonkeyPatch, errors: list[Exception], beats: int
) -> None:
    """Renewals fail with these errors in turn; the lease is still renewed this often."""
    put, left = store.put_json, iter(errors)

    def flaky(key: str, value: object) -> None:
        if (error := next(left, None)) is not None:
            raise error
        put(key, value)

    with Keeper(store, RUN, GROUP, "pod-1", 0.3):
        monkeypatch.setattr(store, "put_json", flaky)
        until = time.monotonic() + 10
        while store.get_json("runs/r/leases/g.json")["beat"] < beats:
            assert time.monotonic() < until
            time.sleep(0.02)


def test_renewals_wait_for_an_unreachable_store(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    renewed(store, monkeypatch, [StoreError("away"), StoreError("away")], beats=4)


def test_one_failed_renewal_does_not_end_the_renewals(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    renewed(store, monkeypatch, [OSError("too many open files")], beats=3)


def beat(n: int) -> dict[str, object]:
    return {
        "holder": "pod-1",
        "beat": n,
        "renewed": 12345.0,
        "seconds": 60.0,
    }  # a clock wrong by years


def test_a_guard_only_requires_that_the_lease_changes() -> None:
    guard = Guard(180, 0.0)
    for n in range(10):
        assert guard.see(beat(n), False, n * 30.0) is None
    assert guard.see(beat(9), False, 9 * 30.0 + 180) is None
    assert "not renewed for 181 s" in str(guard.see(beat(9), False, 9 * 30.0 + 181))


def test_a_guard_waits_for_the_first_renewal_and_for_another_holder() -> None:
    guard = Guard(180, 0.0)
    assert guard.see(None, False, 180.0) is None
    assert guard.see(beat(1), False, 180.0) is None
    assert guard.see({**beat(1), "holder": "pod-2"}, False, 350.0) is None
    assert guard.see(None, False, 530.0) is None
    assert guard.see(None, False, 531.0) is not None
    assert Guard(180, 0.0).see(None, False, 181.0) is not None


def test_a_guard_ends_at_once_when_cancelled() -> None:
    assert Guard(180, 0.0).see(beat(1), True, 1.0) == "the run was cancelled"
    assert (
        Guard(180, 0.0).see({**beat(1), "cancelled": True}, False, 1.0) == "the run was cancelled"
    )


def test_a_guard_that_cannot_read_has_more_patience() -> None:
    guard = Guard(180, 0.0)
    guard.see(beat(1), False, 100.0)
    assert guard.blind(100.0 + 180 * UNREADABLE) is None
    assert "could not be read" in str(guard.blind(101.0 + 180 * UNREADABLE))


def test_watching_ends_the_work_without_renewals(store: Store) -> None:
    store.put_json("runs/r/leases/g.json", beat(1))
    ended: list[str] = []
    watch(store, RUN, GROUP, ended.append, threading.Event(), 0.4)
    assert "not renewed" in ended[0]


def test_watching_stops_when_the_work_is_done(store: Store) -> None:
    done = threading.Event()
    done.set()
    watch(store, RUN, GROUP, lambda why: pytest.fail(why), done, 60)
