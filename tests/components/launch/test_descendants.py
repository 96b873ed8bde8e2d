"""All descendants of a process are seen and ended, whatever they and its threads do meanwhile."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from components.launch.descendants import children

#: Runs a shell command that prints a line when its processes are there, ends all descendants, and
#: prints how many processes of the session are left.
END = """
import subprocess, sys
from components.launch.descendants import adopt_orphans, children, end_descendants
adopt_orphans()
shell = subprocess.Popen(["bash", "-c", sys.argv[1]], stdout=subprocess.PIPE)
shell.stdout.readline()
end_descendants()
print(len(children()))
"""


@pytest.fixture
def sleepers() -> Iterator[list[subprocess.Popen[bytes]]]:
    processes = [subprocess.Popen(["sleep", "60"]) for _ in range(3)]
    yield processes
    for process in processes:
        process.kill()
        process.wait()


@contextmanager
def repeated(action: Callable[[], None]) -> Iterator[None]:
    """Repeats an action in a thread while the body runs."""
    stop = threading.Event()

    def repeat() -> None:
        while not stop.is_set():
            action()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def start_threads() -> None:
    threads = [threading.Thread(target=lambda: None) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize(
    "action", [start_threads, lambda: subprocess.run(["true"])], ids=["threads", "processes"]
)
def test_all_children_are_seen_while_others_start_and_end(
    action: Callable[[], None], sleepers: list[subprocess.Popen[bytes]]
) -> None:
    with repeated(action):
        for _ in range(200):
            assert {process.pid for process in sleepers} <= children().keys()


def test_a_child_has_a_name_and_a_state(tmp_path: Path) -> None:
    program = tmp_path / "a (b) c"
    program.symlink_to("/bin/true")
    process = subprocess.Popen([program])
    while (child := children()[process.pid]).state != "Z":
        pass
    assert child.name == "a (b) c"
    process.wait()
    assert process.pid not in children()


@pytest.mark.parametrize(
    "command",
    [
        "sleep 60 & echo ready; wait",
        "(sleep 60 & sleep 60 & echo ready; wait) & wait",
        "setsid sleep 60 & echo ready; exit",
        "(setsid sleep 60 & setsid setsid sleep 60 & echo ready) & exit",
        "trap '' TERM INT HUP; sleep 60 & echo ready; wait",
        "echo ready; while :; do sleep 0.001 & done",
        "echo ready; exit",
    ],
)
def test_no_descendant_is_left(command: str, tmp_path: Path) -> None:
    program = [sys.executable, "-c", END, command]
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(program, capture_output=True, text=True, cwd=root, timeout=30)
    assert (done.stdout, done.stderr) == ("0\n", "")
