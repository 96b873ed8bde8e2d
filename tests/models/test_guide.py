"""docs/adding-a-backbone.md, executed: its contract is registered, checked, and runs a plan."""

import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from tests.conftest import ROOT
from tests.models.in_process import run_plan, write_small_mirror
from xstilts.miniature.backbones import build_tiny
from xstilts.models import families
from xstilts.models.backbone import Backbone, load_backbone, load_model
from xstilts.models.batch import pack
from xstilts.models.contract import Contract
from xstilts.models.processor import load_processor

GUIDE = (ROOT / "docs" / "adding-a-backbone.md").read_text()


def block(language: str) -> str:
    """The one code block of a language in the guide."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)
    return str(found)


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> Contract:
    """The guide's family, registered as it says."""
    module = ModuleType("olmo2")
    exec(compile(block("python"), "olmo2.py", "exec"), module.__dict__)
    monkeypatch.setitem(families.FAMILIES, "olmo2", module.OLMO2)
    contract: Contract = module.OLMO2
    return contract


def test_the_contract_needs_no_torch_and_no_transformers(tmp_path: Path) -> None:
    (tmp_path / "olmo2.py").write_text(block("python"))
    check = "import olmo2, sys; print({'torch', 'transformers', 'numpy'} & sys.modules.keys())"
    done = subprocess.run(
        [sys.executable, "-c", check],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": f"{tmp_path}:{ROOT}"},
    )
    assert done.stdout.strip() == "set()"


def test_the_lines_to_change_are_in_the_registry() -> None:
    source = Path(families.__file__).read_text()
    unchanged = [line[1:] for line in block("diff").splitlines() if line.startswith(" ")]
    assert all(line in source.splitlines() for line in unchanged)


def test_packed_segments_equal_the_same_segments_alone(
    added: Contract, texts, mixed, reference, tmp_path: Path
) -> None:
    settings = {"hidden": 32, "ff": 64, "layers": 2}
    folder = build_tiny("olmo2", 0, texts, settings, tmp_path)
    ours = load_backbone(folder, "olmo2")
    stock = Backbone(load_model(folder, added, attn_implementation="sdpa"), added).eval()
    segments = mixed(load_processor(folder, "olmo2"))
    with torch.no_grad():
        assert (ours(pack(segments, ours)) - reference(stock, segments)).abs().max() < 2e-5


@pytest.mark.slow
def test_the_plan_of_the_guide_runs(added: Contract, tmp_path: Path) -> None:
    done = run_plan(block("yaml"), write_small_mirror(tmp_path / "mirror"), tmp_path)
    assert {kind: len(steps) for kind, steps in done.items() if kind != "records"} == {
        "build": 1,
        "encode": 4,
        "finetune": 3,
        "score": 2,
    }


def test_a_plan_names_the_family_and_may_switch_its_attention(added: Contract) -> None:
    from xstilts.plan.load import load_plan

    text = block("yaml").replace("tuning: lora", "tuning: lora\n    attention: bidirectional")
    assert load_plan(text).backbones["tiny-olmo2"].family == "olmo2"
