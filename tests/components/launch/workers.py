"""Worker functions for tests on a real Ray. They write into RAY_TRAIN_TEST_FOLDER: what begins
so reaches workers.
"""

import os
import time
from pathlib import Path
from typing import Any


def endless(config: dict[str, Any]) -> None:
    """Leaves its process id, whole or not at all, and works for ever."""
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
    """Leaves what it was told."""
    (Path(os.environ["RAY_TRAIN_TEST_FOLDER"]) / "told").write_text(
        f"{config['kind']} {config['group']}"
    )
