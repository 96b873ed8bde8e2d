"""An exported model, loaded by transformers and peft alone, predicts what ours predicts."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.models.conftest import inputs_of, png, shown_ids, stock_inputs
from xstilts.errors import PlanError
from xstilts.models.backbone import load_backbone
from xstilts.models.batch import Segment, pack
from xstilts.models.contract import Contract
from xstilts.models.families import contract
from xstilts.models.lora import add_lora, load_trainable, trainable_state
from xstilts.models.processor import load_processor
from xstilts.runs import export_model
from xstilts.runs.export_model import share, write_adapter, write_model
from xstilts.step import Step

#: One encoder, one text decoder, one with pictures.
FAMILIES = ("xlm_r", "qwen2", "llava")


class Trained:
    """A tiny backbone whose trainable weights are moved, as training does."""

    def __init__(self, family: str, where: Path, tmp_path: Path, tuning: dict[str, Any]) -> None:
        self.family, self.where, self.of = family, where, contract(family)
        self.ours = load_backbone(where, family)
        if tuning["mode"] == "lora":
            add_lora(self.ours, tuning["r"], tuning["alpha"])
        noise = torch.Generator().manual_seed(0)
        state = {
            name: tensor + 0.05 * torch.randn(tensor.shape, generator=noise)
            for name, tensor in trainable_state(self.ours).items()
        }
        with torch.no_grad():
            load_trainable(self.ours, state)
        self.weights = tmp_path / "trainable.safetensors"
        save_file(state, self.weights)
        self.pictures = [png(40, 24)] if self.of.vision else []

    def expected(self, text: str) -> Tensor:
        """Vocabulary logits of one text, with a picture where the family takes one."""
        processor = load_processor(self.where, self.family)
        ids = [*shown_ids(processor, self.pictures), *processor.text_tokens(text)[0]]
        if not self.of.causal:
            ids = [*processor.layout.start, *ids, *processor.layout.end]
        batch = pack([Segment(ids, inputs_of(processor, self.pictures))], self.ours)
        with torch.inference_mode():
            return self.ours.lm_logits(self.ours(batch))

    def logits(self, model: Any, folder: Path, text: str) -> Tensor:
        """The same of a model that transformers or peft loaded."""
        with torch.inference_mode():
            made: Tensor = model(**stock_inputs(self.family, folder, self.pictures, text)).logits[0]
        return made


def stock(folder: Path, of: Contract) -> Any:
    import transformers

    return getattr(transformers, of.model_class).from_pretrained(folder).eval()


def gap(first: Tensor, second: Tensor) -> float:
    return float((first - second).abs().max() / second.abs().max())


@pytest.mark.parametrize("family", FAMILIES)
def test_an_adapter_loads_with_peft(family: str, folder, texts, tmp_path: Path) -> None:
    from peft import PeftModel

    tuning = {"mode": "lora", "r": 4, "alpha": 8.0}
    trained = Trained(family, folder(family), tmp_path, tuning)
    out = tmp_path / "adapter"
    out.mkdir()
    spec = {"tuning": tuning, "backbone": "built"}
    write_adapter(trained.weights, trained.of, spec, str(folder(family)), out)
    base = stock(folder(family), trained.of)
    plain = trained.logits(base, folder(family), texts[0])
    model = PeftModel.from_pretrained(base, str(out)).eval()
    expected = trained.expected(texts[0])
    assert gap(trained.logits(model, folder(family), texts[0]), expected) < 1e-4
    assert gap(plain, expected) > 1e-2  # the adapter does something


@pytest.mark.parametrize("family", FAMILIES)
def test_a_full_model_loads_with_transformers(family: str, folder, texts, tmp_path: Path) -> None:
    trained = Trained(family, folder(family), tmp_path, {"mode": "full"})
    out = tmp_path / "model"
    out.mkdir()
    write_model(trained.weights, trained.of, folder(family), out)
    expected = trained.expected(texts[0])
    assert gap(trained.logits(stock(out, trained.of), out, texts[0]), expected) < 1e-4
    plain = trained.logits(stock(folder(family), trained.of), folder(family), texts[0])
    assert gap(plain, expected) > 1e-2


@pytest.fixture
def exporting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Path], Any]:
    """Exports a cell whose adapter, heads and card are files with their names."""
    spec = {"family": "xlm_r", "tuning": {"mode": "lora"}, "backbone": {"hub": "org/base"}}
    manifest = SimpleNamespace(step=Step("finetune", spec).to_json())
    store: Any = SimpleNamespace(manifest=lambda *_: manifest, file=lambda *_: tmp_path)
    document = {"cells": [{"id": "cell", "chain": ["f"]}]}
    monkeypatch.setattr(export_model, "expanded_of", lambda *_: document)
    monkeypatch.setattr(export_model, "model_folder", lambda *_: tmp_path)
    monkeypatch.setattr(
        export_model, "write_adapter", lambda *every: (every[-1] / "adapter").touch()
    )
    monkeypatch.setattr(export_model, "_write_heads", lambda *every: (every[-1] / "heads").touch())
    monkeypatch.setattr(export_model, "_card", lambda *_: "# cell")
    return lambda folder: export_model.export_model(store, "run", "cell", folder)


def test_an_interrupted_export_leaves_no_folder_and_can_be_repeated(
    exporting: Callable[[Path], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "out" / "model"
    with monkeypatch.context() as patched:
        patched.setattr(export_model, "_write_heads", interrupted)
        with pytest.raises(KeyboardInterrupt):
            exporting(out)
    assert list(out.parent.iterdir()) == []
    assert exporting(out) == export_model.ExportedModel(out, "adapter", "org/base")
    assert {path.name for path in out.iterdir()} == {"adapter", "heads", "README.md"}


def test_a_folder_with_files_is_refused(exporting: Callable[[Path], Any], tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(PlanError, match="is not empty; name a new folder"):
        exporting(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]


def test_an_exported_folder_can_be_read_by_whoever_reads_new_files(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    weights, new = tmp_path / "base" / "model.safetensors", tmp_path / "README.md"
    for file in (weights, new):
        file.touch()
    weights.chmod(0o600)
    share(tmp_path)
    assert weights.stat().st_mode == new.stat().st_mode
