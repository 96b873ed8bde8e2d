"""A model whose attention ignores segment boundaries is refused when it is loaded."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers

from xstilts.errors import DataError
from xstilts.miniature.backbones import build_model, save
from xstilts.models.backbone import load_backbone, wrap
from xstilts.models.families import FAMILIES
from xstilts.models.positions import from_zero
from xstilts.models.xlm_r import XLM_R

#: A family with attention of its own, which transformers lets pass.
DEBERTA = replace(
    XLM_R,
    family="deberta",
    model_class="DebertaV2ForMaskedLM",
    core="deberta",
    text="deberta",
    lm_head="lm_predictions",
    positions=from_zero,
    model_types=("deberta-v2",),
)


def deberta() -> transformers.DebertaV2ForMaskedLM:
    config = transformers.DebertaV2Config(
        vocab_size=400,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        relative_attention=True,
        position_buckets=16,
        pos_att_type=["p2c", "c2p"],
        max_position_embeddings=64,
        type_vocab_size=0,
    )
    torch.manual_seed(0)
    return transformers.DebertaV2ForMaskedLM(config)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_deberta_is_refused(
    dtype: torch.dtype, texts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FAMILIES, "deberta", DEBERTA)
    _, tokenizer = build_model("xlm_r", 0, texts, {"vocab_size": 400})
    save(deberta(), tokenizer, tmp_path)
    with pytest.raises(DataError) as refused:
        load_backbone(tmp_path, "deberta", dtype=dtype)
    assert str(refused.value).startswith(
        f"{tmp_path}: attention of family deberta ignores segment boundaries. "
        "A packed segment differs by 0.0"
    )


def test_a_model_in_memory_is_probed_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAMILIES, "deberta", DEBERTA)
    with pytest.raises(DataError, match="a DebertaV2ForMaskedLM in memory: attention of family"):
        wrap(deberta(), "deberta")


@pytest.mark.parametrize("family", list(FAMILIES))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_shipped_families_pass(family: str, dtype: torch.dtype, folder) -> None:
    assert load_backbone(folder(family), family, dtype=dtype).training is False


def test_positions_that_count_across_segments_are_refused(
    folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Boundaries are kept, but the second segment of a batch starts at another position."""
    calls = [0]

    def counted(segment, config) -> torch.Tensor:
        calls[0] += 1
        second = calls[0] in (2, 4)  # of the two batches with two segments, which come first
        return torch.arange(len(segment.input_ids)) + 5 * second

    monkeypatch.setitem(FAMILIES, "bert", replace(FAMILIES["bert"], positions=counted))
    with pytest.raises(DataError, match="ignores segment boundaries"):
        load_backbone(folder("bert"), "bert")


def test_the_probe_leaves_training_mode_and_gradients_alone(texts: list[str]) -> None:
    model, _ = build_model("xlm_r", 0, texts, {"vocab_size": 400})
    backbone = wrap(model.train(), "xlm_r")
    assert backbone.training
    assert all(parameter.grad is None for parameter in backbone.parameters())
