"""Worker functions for tests on a real Ray. They write to RAY_TRAIN_TEST_FOLDER, a variable whose
prefix is passed on to workers.
"""

import os
import time
from pathlib import Path
from typing import Any


def endless(config: dict[str, Any]) -> None:
    """Writes its process id atomically and runs forever."""
    import ray.train

    folder, rank = (
        Path(os.environ["RAY_TRAIN_TEST_FOLDER"]),
        ray.train.get_context().get_world_rank(),
    )
    (folder / f"{rank}.part").write_text(str(os.getpid()))
    os.replace(folder / f"{rank}.part", folder / f"{rank}.pid")
    while True:
        time.sleep(0.1)


def quick(config: dict[str, Any]) -> None:
    """Writes its config."""
    (Path(os.environ["RAY_TRAIN_TEST_FOLDER"]) / "config").write_text(
        f"{config['kind']} {config['group']}"
    )
