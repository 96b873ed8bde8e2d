"""Measures how long a run takes to its first update, and a second run that has nothing to do,
against the start of an empty worker group of Ray Train.

Alternatives are measured in turn, round by round. Records, backbones and encodings are in the
store before the first round. A run that has made its first update is stopped.

    python -m benchmarks.startup [--rounds 5] [--plan tests/e2e/small.yaml] [--home FOLDER]
"""

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from benchmarks.measure import OURS, Record, interleaved, write

ROOT = Path(__file__).resolve().parents[1]
#: Longest wait for a process or a file, in seconds.
LIMIT = 300.0
FIRST = "first update of a run whose data is in the store"
SECOND = "second run, where everything is done"
GROUP = "empty worker group of Ray Train"

#: `sitecustomize` of the processes of a run: writes the time of the first optimizer update.
_FIRST_UPDATE = """
import importlib.abc, importlib.util, os, sys, time

class Watch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name != "torch.optim.optimizer":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module

        def execute(module):
            run(module)
            module.register_optimizer_step_post_hook(first)

        spec.loader.exec_module = execute
        return spec

def first(*_):
    try:
        with open(os.environ["FIRST_UPDATE"], "x") as file:
            file.write(repr(time.time()))
    except FileExistsError:
        pass

sys.meta_path.insert(0, Watch())
"""

#: An empty worker group: what anyone who uses Ray Train waits for.
_EMPTY_GROUP = """
import sys

if __name__ == "__main__":
    import ray
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    workers, folder = int(sys.argv[1]), sys.argv[2]
    ray.init(num_cpus=workers + 1, include_dashboard=False)

    def enter():
        import os, time
        import ray.train
        rank = ray.train.get_context().get_world_rank()
        with open(f"{folder}/entered-{rank}", "w") as file:
            file.write(repr(time.time()))

    TorchTrainer(
        enter, torch_config=TorchConfig(backend="gloo"),
        scaling_config=ScalingConfig(num_workers=workers),
        run_config=RunConfig(storage_path=folder),
    ).fit()
"""


def command(plan: Path, home: Path, out: Path) -> list[str]:
    options = ["--home", str(home), "--out", str(out)]
    return [sys.executable, "-m", "pipelines.cli", "run", str(plan), *options]


def environment(**values: str) -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path, "RAY_TRAIN_V2_ENABLED": "1", **values}


def empty_group(folder: Path, workers: int) -> float:
    """Seconds from the start of a process to the first line of the last worker of its group."""
    scratch = Path(tempfile.mkdtemp(dir=folder))
    script = scratch / "group.py"
    script.write_text(_EMPTY_GROUP)
    started = time.time()
    with open(scratch / "log", "wb") as log:
        subprocess.run(
            [sys.executable, str(script), str(workers), str(scratch)],
            check=True, env=environment(), stdout=log, stderr=log, timeout=LIMIT,
        )  # fmt: skip
    entered = [float(path.read_text()) for path in scratch.glob("entered-*")]
    assert len(entered) == workers
    return max(entered) - started


def first_update(folder: Path, plan: Path, home: Path) -> float:
    """Seconds from the start of `xstilts run` to the first update, with data in the store."""
    scratch = Path(tempfile.mkdtemp(dir=folder))
    (scratch / "sitecustomize.py").write_text(_FIRST_UPDATE)
    file = scratch / "first-update"
    variables = environment(FIRST_UPDATE=str(file))
    variables["PYTHONPATH"] = f"{scratch}{os.pathsep}{variables['PYTHONPATH']}"
    forget_training(home)
    started = time.time()
    with (
        open(scratch / "log", "wb") as log,
        subprocess.Popen(
            command(plan, home, scratch / "out"), env=variables, stdout=log, stderr=log
        ) as process,
    ):
        while not file.exists():
            if process.poll() is not None or time.time() - started > LIMIT:
                process.kill()
                raise RuntimeError(f"no update; see {scratch / 'log'}")
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
    time.sleep(0.1)
    return float(file.read_text()) - started


def forget_training(home: Path) -> None:
    """Removes what training and scoring have left in a store."""
    store = home / "store" / "xstilts" / "store"
    for part in ("steps/finetune", "steps/score", "work", "runs"):
        shutil.rmtree(store / part, ignore_errors=True)


def second_run(plan: Path, home: Path, out: Path) -> float:
    """Seconds of `xstilts run` where everything is done, to the end of its process."""
    started = time.time()
    done = subprocess.run(
        command(plan, home, out), check=True, env=environment(), capture_output=True, text=True,
        timeout=LIMIT,
    )  # fmt: skip
    seconds = time.time() - started
    assert "all done before" in done.stdout
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--plan", type=Path, default=ROOT / "tests" / "e2e" / "small.yaml")
    parser.add_argument("--home", type=Path, help="folder with a finished run of the plan")
    options = parser.parse_args()
    plan = options.plan
    workers = int(yaml.safe_load(plan.read_text())["resources"]["workers"])
    setting = {"workers": workers, "rounds": options.rounds}
    with tempfile.TemporaryDirectory(prefix="xb-", dir="/tmp") as scratch:  # short, for Ray
        folder = Path(scratch)
        home, trained, out = folder / "home", folder / "trained", folder / "out"
        if options.home:
            shutil.copytree(options.home, home, symlinks=True)
        subprocess.run(
            command(plan, home, out), check=True, env=environment(), stdout=subprocess.DEVNULL
        )
        shutil.copytree(home, trained, symlinks=True)
        figures = interleaved(
            options.rounds,
            {
                GROUP: lambda: empty_group(folder, workers),
                FIRST: lambda: first_update(folder, plan, home),
                SECOND: lambda: second_run(plan, trained, out),
            },
        )
    first = {OURS: figures[FIRST], GROUP: figures[GROUP]}
    extra = [ours - group for ours, group in zip(first[OURS], first[GROUP], strict=True)]
    notes = {OURS: f"{statistics.median(extra):+.1f} s over the worker group; target +5 s"}
    second = {OURS: figures[SECOND]}
    write(
        "startup",
        [
            Record(FIRST, "s", first, notes, setting=setting),
            Record(SECOND, "s", second, {OURS: "target 6 s"}, setting=setting),
        ],
    )
    print(figures)


if __name__ == "__main__":
    main()
