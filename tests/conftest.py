"""Fixtures that several test packages share."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# A property is about values; how long an example takes on a busy machine is not its business.
settings.register_profile("values", deadline=None)
settings.load_profile("values")

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("RAY_AUTH_MODE", "disabled")

ROOT = Path(__file__).resolve().parents[1]
#: The files that use the fixture `shipped`, which takes long to make.
SHIPPED = ("tests/docs/test_costs_page.py", "tests/plan/test_shipped.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that no worker is left alone with them at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Where tests run side by side, the fork server starts before them. Else the first test that
    uses one, not always that of tests/processes.py, would decide what it imports.
    """
    slow = any(item.get_closest_marker("slow") for item in session.items)
    if slow and "PYTEST_XDIST_WORKER" in os.environ:
        from tests.processes import start_fork_server

        start_fork_server()


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Where tests run side by side, those of a file stay together, and so do the files that use the
    overviews of the shipped plans. Not by `--dist loadgroup`, which pytest 9.2 ignores.
    """
    from xdist.scheduler import LoadFileScheduling

    class Together(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file = str(super()._split_scope(nodeid))
            return "shipped plans" if file in SHIPPED else file

    config.option.loadscopereorder = False
    return Together(config, log)


@pytest.fixture(scope="session")
def shipped() -> dict[str, dict[str, Any]]:
    """Name → overview of every shipped plan, without lookups, for 8 GPUs."""
    from pipelines.cost_reference import shipped_overviews

    return {view["name"]: view for view in shipped_overviews()}


@pytest.fixture(scope="session")
def hub() -> Path:
    """The mirror of real data slices beside the checkout; tests that need it skip where it is
    absent.
    """
    folder = ROOT.parent / "shared" / "hub"
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} is absent")
    return folder


def _real_models(*names: str) -> Path:
    """A folder with real tokenizers or weights, made once per machine by
    ../shared/tools/real_models.py from packages whose SHA-256 it checks. Skips the test where that
    tool is absent.
    """
    from filelock import FileLock

    tool = ROOT.parent / "shared" / "tools" / "real_models.py"
    if not tool.is_file():
        pytest.skip(f"no real models: {tool} is absent")
    default = Path(tempfile.gettempdir()) / f"xstilts-real-models-{os.getuid()}"
    folder = Path(os.environ.get("XSTILTS_REAL_MODELS", default))
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        subprocess.run([sys.executable, str(tool), str(folder), "--only", *names], check=True)
    return folder


@pytest.fixture(scope="session")
def real_tokenizers() -> Path:
    """A folder with the real tokenizers of XLM-R, Qwen2 (VL), Qwen3 and Llama 2 (LLaVA-1.5):
    `xlm-roberta-tokenizer`, `qwen2-tokenizer`, `qwen3-tokenizer`, `llama2-tokenizer`.
    """
    return _real_models(
        "xlm-roberta-tokenizer", "qwen2-tokenizer", "qwen3-tokenizer", "llama2-tokenizer"
    )


@pytest.fixture(scope="session")
def real_berts() -> Path:
    """A folder with real pretrained BERTs: `sentence-transformers/all-MiniLM-L6-v2` with BERT's
    tokenizer, `intfloat/multilingual-e5-small` with XLM-R's.
    """
    return _real_models("sentence-transformers/all-MiniLM-L6-v2", "intfloat/multilingual-e5-small")


@pytest.fixture(scope="session")
def stub_model() -> Callable[..., Path]:
    """Writes a model folder that a plan accepts: config.json, the files of a tokenizer, and weights
    whose header agrees with the sizes in config.json. No step could load it.
    """

    def write(folder: Path, config: Mapping[str, Any]) -> Path:
        import torch
        from safetensors.torch import save_file

        parts = [config, config.get("text_config", {}), config.get("vision_config", {})]
        sizes = [v for part in parts for v in part.values() if type(v) is int]
        tensors = {f"layer.{i}": torch.zeros(1) for i in range(100)}
        save_file(
            tensors | {"wide": torch.zeros(max(sizes, default=1), dtype=torch.bfloat16)},
            folder / "model.safetensors",
        )
        (folder / "config.json").write_text(json.dumps(config))
        for name in ("tokenizer.json", "preprocessor_config.json"):
            (folder / name).write_text("{}")
        return folder

    return write


@pytest.fixture(scope="session")
def write_mirror() -> Callable[..., Path]:
    """Writes a mirror that tests/e2e/small.yaml can be expanded over: each file has its name and
    some bytes, which nobody reads as rows.
    """

    def write(folder: Path, content: str = "rows") -> Path:
        from xstilts.tasks.registry import TASKS

        for name in ("udpos", "ud_en", "tatoeba", "coco_captions", "miniature_text"):
            for source in TASKS[name].splits.values() if name in TASKS else ():
                for one in (
                    source,
                    *source.alternatives,
                    *source.plus,
                    *([source.pictures] if source.pictures else []),
                ):
                    for language in ("en", "qaa"):
                        for split in one.split_for(language).split("+"):
                            config = one.config_for(language) or ""
                            path = folder / one.path / config / f"{split}-00000-of-00001.parquet"
                            path.parent.mkdir(parents=True, exist_ok=True)
                            path.write_text(content)
        return folder

    return write
