"""Tasks run in processes that have loaded their modules before."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from pipelines import task_processes
from pipelines.task_processes import LOST, TASKS, TaskProcesses
from xstilts.errors import InfrastructureError
from xstilts.processes import is_running

SCRIPT = "python3 -m kfp.dsl.executor_main --component_module_path component.py"
INPUT = """{"inputs": {"parameterValues": {"x": "1"}}, "outputs": {"outputFile": "%s"}}"""


def command(body: str, out: Path = Path("/dev/null")) -> list[str]:
    """A command as KFP makes it, of a component with one string."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    code = f"import os, sys, time\n\ndef task(x: str):\n{lines}"
    return [
        "sh",
        "-ec",
        SCRIPT,
        code,
        "--executor_input",
        INPUT % out,
        "--function_to_execute",
        "task",
    ]


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TaskProcesses]:
    log = tmp_path_factory.mktemp("processes") / "processes.log"
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("XSTILTS_LOCAL", raising=False)
        with task_processes.task_processes(log) as started:
            yield started


def run(processes: TaskProcesses, body: str, **variables: str) -> tuple[int, str]:
    with redirect_stdout(io.StringIO()) as output:
        code = processes.run(command(body), variables)
    return code, output.getvalue()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("return", 0),
        ("raise ValueError('broken row')", 1),
        ("sys.exit(7)", 7),
        ("sys.exit('a message')", 1),
        ("os.kill(os.getpid(), 9)", LOST),
        ("os._exit(0)", LOST),  # it did not reach its end
    ],
)
def test_a_task_has_its_own_exit_code(processes: TaskProcesses, body: str, code: int) -> None:
    assert run(processes, body)[0] == code


def test_a_failed_task_prints_its_traceback(processes: TaskProcesses) -> None:
    assert "ValueError: broken row" in run(processes, "raise ValueError('broken row')")[1]


def test_output_of_child_processes_is_in_the_tasks_log(processes: TaskProcesses) -> None:
    assert "from a child" in run(processes, "os.system('echo from a child')")[1]


def test_a_task_gets_the_environment_of_its_call(
    processes: TaskProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SET_LATER", "by the run")
    _, output = run(
        processes, "print(os.environ['SET_LATER'], os.environ['OF_TASK'])", OF_TASK="task"
    )
    assert "by the run task" in output


def test_a_task_leaves_nothing_for_the_next(processes: TaskProcesses) -> None:
    run(processes, "os.environ['LEFT'] = 'x'; os.chdir('/'); sys.modules['left'] = sys")
    _, output = run(processes, "print('LEFT' in os.environ, 'left' in sys.modules, os.getcwd())")
    assert f"False False {os.getcwd()}" in output


def test_tasks_draw_different_random_numbers(processes: TaskProcesses) -> None:
    body = "import random; print('drawn', random.random())"
    drawn = {
        line for _ in range(2) for line in run(processes, body)[1].splitlines() if "drawn" in line
    }
    assert len(drawn) == 2


def test_another_form_of_kfps_command_is_an_error(processes: TaskProcesses) -> None:
    with pytest.raises(InfrastructureError, match="unknown command"):
        processes.run(["bash", "-c", SCRIPT, "code"])


def ends(process: int, seconds: float = 10.0) -> bool:
    """Whether a process ends within some seconds; as a zombie, it has."""
    deadline = time.monotonic() + seconds
    while is_running(process):
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.02)
    return True


def task_of(program: str, started: Path, number: signal.Signals) -> int:
    """Runs a program until its task has written its process id to a file, and ends the program with
    a signal. Returns the id.
    """
    with subprocess.Popen([sys.executable, "-c", program]) as process:
        while not started.exists() or not started.read_text():
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(number)
        process.wait(30)
    return int(started.read_text())


def test_tasks_end_with_the_run(tmp_path: Path) -> None:
    """A run that is killed leaves neither the process nor its tasks."""
    started = tmp_path / "started"
    body = f"open({str(started)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    program = (
        "from pathlib import Path; from pipelines.task_processes import task_processes\n"
        f"with task_processes(Path({str(tmp_path / 'log')!r})) as processes:\n"
        f"    processes.run({command(body)!r})"
    )
    assert ends(task_of(program, started, signal.SIGKILL))


def test_a_second_signal_while_the_processes_end_does_not_hang(tmp_path: Path) -> None:
    """`timeout` sends SIGTERM to a process and to its group; users press Ctrl-C twice."""
    with open(tmp_path / "log", "w") as log:
        processes = TaskProcesses(log)
        closed = []

        def close() -> None:
            closed.append(1)
            os.kill(os.getpid(), signal.SIGTERM)  # is handled before this function goes on
            TaskProcesses.close(processes)

        def interrupt(number: int, frame: object) -> None:
            raise KeyboardInterrupt

        processes.close = close  # type: ignore[method-assign]
        before = signal.signal(signal.SIGTERM, interrupt)
        try:
            with pytest.raises(KeyboardInterrupt), processes._ended_by_signals():
                os.kill(os.getpid(), signal.SIGTERM)
        finally:
            signal.signal(signal.SIGTERM, before)
    assert closed == [1]


def test_a_signal_ends_the_tasks_before_kfp_waits_for_them(tmp_path: Path) -> None:
    """KFP runs the iterations of a loop in threads, and waits for them when it is interrupted."""
    started, ended = tmp_path / "started", tmp_path / "ended"
    body = f"open({str(started)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    program = (
        "from concurrent.futures import ThreadPoolExecutor; from pathlib import Path\n"
        "from pipelines.local_runner import interruptible\n"
        "from pipelines.task_processes import task_processes\n"
        f"with interruptible(), task_processes(Path({str(tmp_path / 'log')!r})) as processes:\n"
        "    try:\n"
        "        with processes.used_by_kfp(), ThreadPoolExecutor(1) as threads:\n"
        f"            threads.submit(processes.run, {command(body)!r}).result()\n"
        "    except KeyboardInterrupt:\n"
        f"        Path({str(ended)!r}).touch()"
    )
    task = task_of(program, started, signal.SIGTERM)
    assert ended.exists()
    assert ends(task)


@pytest.mark.slow
def test_the_first_task_with_a_worker_group_has_ray_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_TRAIN_V2_ENABLED", raising=False)
    body = "print('ray.train.torch' in sys.modules, os.environ.get('RAY_TRAIN_V2_ENABLED'))"
    with task_processes.task_processes(tmp_path / "log") as processes:
        processes.prepare_launch("task")
        first, second = run(processes, body), run(processes, body)
    assert (first[0], second[0]) == (0, 0)
    assert "True None" in first[1]  # the run's environment, without what loading Ray needed
    assert "False None" in second[1]


def test_what_tasks_import_starts_no_thread() -> None:
    """A fork has only the thread that forks, so locks of others would stay locked."""
    program = (
        "import os; from pipelines import task_processes as module\n"
        "for name in module.TASKS: module._load(name)\n"
        "print(len(os.listdir('/proc/self/task')))"
    )
    kept = {key: value for key, value in os.environ.items() if not key.endswith("_NUM_THREADS")}
    environment = {**kept, "_KFP_RUNTIME": "true"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "1"
    assert TASKS
