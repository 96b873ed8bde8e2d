"""The ways in which packing goes wrong without an error in transformers 5: each is wrong here,
and ours is right.
"""

import pytest
import torch

from xstilts.models.attention import packed_attention
from xstilts.models.backbone import Backbone, load_backbone, load_model
from xstilts.models.batch import Segment, pack
from xstilts.models.families import contract
from xstilts.models.processor import load_processor

WRONG = 1e-3


@pytest.fixture
def laid_out(folder, reference, texts):
    """family → (the packed batch, the error of a way to call the stock model with it); ours is
    checked to be right.
    """

    def make(family: str):
        of = contract(family)
        stock = Backbone(load_model(folder(family), of, attn_implementation="sdpa"), of).eval()
        tokenizer = load_processor(folder(family), family).tokenizer
        texts_ids = [tokenizer.encode(texts[i], add_special_tokens=False) for i in range(2)]
        segments = [Segment(texts_ids[0][:7]), Segment(texts_ids[1][:13])]
        ours = load_backbone(folder(family), family)
        with torch.inference_mode():
            expected = reference(stock, segments)
            batch = pack(segments, ours)
            right = float((ours(batch) - expected).abs().max())

        def error(**call: object) -> float:
            with torch.inference_mode():
                states = stock.model.get_submodule(of.core)(
                    input_ids=batch.input_ids[None], **call
                ).last_hidden_state[0]
                return float((states - expected).abs().max())

        assert right < 1e-5
        return batch, error

    return make


def test_qwen_with_two_or_three_rows_of_positions_is_not_packed(laid_out):
    batch, error = laid_out("qwen_vl")
    text = batch.offsets[None]
    assert error(position_ids=text, use_cache=False) > WRONG
    assert error(position_ids=text.expand(3, 1, -1), use_cache=False) > WRONG
    assert error(position_ids=batch.positions[:, None], use_cache=False) < 1e-5


def test_the_default_cache_switches_packing_off(laid_out):
    for family in ("llava", "qwen_vl"):
        batch, error = laid_out(family)
        positions = batch.positions[None] if family == "llava" else batch.positions[:, None]
        assert error(position_ids=positions) > WRONG
        assert error(position_ids=positions, use_cache=False) < 1e-5


def test_a_mask_of_ones_switches_packing_off(laid_out):
    for family in ("llava", "qwen_vl"):
        batch, error = laid_out(family)
        positions = batch.positions[None] if family == "llava" else batch.positions[:, None]
        ones = torch.ones(1, len(batch.input_ids), dtype=torch.long)
        assert error(position_ids=positions, use_cache=False, attention_mask=ones) > WRONG


def test_xlm_r_never_packs_by_positions(laid_out):
    batch, error = laid_out("xlm_r")
    assert error(position_ids=batch.positions[None]) > WRONG
    row = torch.arange(2).repeat_interleave(torch.tensor(batch.lengths))
    blocks = (row[:, None] == row[None])[None, None]
    assert error(position_ids=batch.positions[None], attention_mask=blocks) < 1e-5


def test_xlm_r_positions_from_zero_are_shifted(laid_out):
    batch, error = laid_out("xlm_r")
    row = torch.arange(2).repeat_interleave(torch.tensor(batch.lengths))
    blocks = (row[:, None] == row[None])[None, None]
    assert error(position_ids=batch.offsets[None], attention_mask=blocks) > WRONG


def test_attention_refuses_what_would_be_silently_wrong():
    module = torch.nn.Module()
    module.is_causal = True
    q = torch.randn(1, 2, 5, 4)
    with pytest.raises(ValueError, match="cu_seq_lens_q"):
        packed_attention(module, q, q, q)
    boundaries = torch.tensor([0, 2, 5], dtype=torch.int32)
    with pytest.raises(ValueError, match="no attention mask"):
        packed_attention(module, q, q, q, torch.ones(1, 1, 5, 5), cu_seq_lens_q=boundaries)
    with pytest.raises(ValueError, match="one flat row"):
        packed_attention(module, q.expand(2, -1, -1, -1), q, q, cu_seq_lens_q=boundaries)


def test_attention_on_small_arrays():
    """Two segments of values 1, 2 | 4, 8 with equal scores: averages of what each token may see."""
    module = torch.nn.Module()
    q, v = torch.zeros(1, 1, 4, 1), torch.tensor([1.0, 2.0, 4.0, 8.0]).view(1, 1, 4, 1)
    boundaries = torch.tensor([0, 2, 4], dtype=torch.int32)
    for causal, expected in ((True, [1.0, 1.5, 4.0, 6.0]), (False, [1.5, 1.5, 6.0, 6.0])):
        module.is_causal = causal
        out, _ = packed_attention(module, q, q, v, cu_seq_lens_q=boundaries)
        assert out.shape == (1, 4, 1, 1)
        assert out.flatten().tolist() == expected
