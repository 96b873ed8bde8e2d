"""Answers in words are those of the stock model's greedy `generate`, and depend on no neighbour."""

from pathlib import Path

import pytest
import torch

from tests.models.conftest import SETTINGS, png
from xstilts.data.encoded import EncodedRow
from xstilts.miniature.backbones import build_tiny
from xstilts.models.backbone import load_backbone, load_model
from xstilts.models.families import contract
from xstilts.models.processor import load_processor
from xstilts.scoring.decode import MAX_TOKENS, decode

CPU = torch.device("cpu")
TEXTS = ["bako ritu zeba.", "koko tuba rima baze.", "riri.", "zeko bama tutu koba rize."] * 20
PICTURES = {"small": png(16, 16, 1), "wide": png(40, 24, 2)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory):
    made: dict[str, Path] = {}

    def build(family: str) -> Path:
        if family not in made:
            made[family] = build_tiny(family, 3, TEXTS, SETTINGS, tmp_path_factory.mktemp(family))
        return made[family]

    return build


def row(
    number: int, prompt: list[int], answer: list[int], images: list[str] | None = None
) -> EncodedRow:
    """A row of the `lm` objective for a causal model: at each answer token's predecessor its id
    is the label.
    """
    tokens = [*prompt, *answer]
    labels = [-100] * (len(prompt) - 1) + answer + [-100]
    return EncodedRow(
        number, "en", [tokens], len(tokens), images or [], [[] for _ in images or []], -1, labels, [-1, -1], [], [], len(answer),
    )  # fmt: skip


def asked(processor, number: int, images: list[str] | None = None) -> EncodedRow:
    ids = processor.tokenizer.encode(TEXTS[number], add_special_tokens=False)
    shown = [i for name in images or [] for i in processor.image_placeholder(PICTURES[name])]
    return row(number, [*shown, *ids], ids[:2], images)


@pytest.mark.parametrize("family", ["llava", "qwen_vl"])
def test_answers_are_those_of_the_stock_greedy_search(family, folder) -> None:
    processor, ours = (
        load_processor(folder(family), family),
        load_backbone(folder(family), family).eval(),
    )
    of = contract(family)
    stock = load_model(folder(family), of, attn_implementation="sdpa").eval()
    rows = [asked(processor, number) for number in range(3)]
    expected = []
    for one in rows:
        prompt = torch.tensor([one.segments[0][: -one.supervised]])
        with torch.no_grad():
            whole = stock.generate(
                input_ids=prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=MAX_TOKENS,
                pad_token_id=0, eos_token_id=processor.tokenizer.eos_token_id,
            )  # fmt: skip
        new = whole[0, prompt.shape[1] :].tolist()
        expected.append(processor.tokenizer.decode(new, skip_special_tokens=True).strip())
    with torch.no_grad():
        assert decode(ours, processor, rows, None, CPU) == expected
    assert len({*expected}) > 1, "the tiny model says the same to everything: this shows nothing"


@pytest.mark.parametrize("family", ["xlm_r", "llava", "qwen_vl"])
def test_an_answer_depends_on_no_neighbour(family, folder) -> None:
    processor, backbone = (
        load_processor(folder(family), family),
        load_backbone(folder(family), family).eval(),
    )
    shown = [None, None, None] if processor.pictures is None else [["small"], None, ["wide"]]
    rows = [
        asked(processor, number, images) for number, images in zip((0, 1, 3), shown, strict=True)
    ]
    with torch.no_grad():
        together = decode(backbone, processor, rows, PICTURES, CPU)
        alone = [decode(backbone, processor, [one], PICTURES, CPU)[0] for one in rows]
    assert together == alone


def test_an_encoder_fills_in_the_masks_and_nothing_else(folder) -> None:
    """Two masks in the middle of a sentence: two tokens come back, those that are likeliest
    there.
    """
    processor, backbone = (
        load_processor(folder("xlm_r"), "xlm_r"),
        load_backbone(folder("xlm_r"), "xlm_r").eval(),
    )
    ids = processor.tokenizer.encode(TEXTS[3], add_special_tokens=False)
    mask = processor.tokenizer.mask_token_id
    tokens = [ids[0], mask, mask, *ids[3:]]
    labels = [-100, ids[1], ids[2], *[-100] * len(ids[3:])]
    masked = EncodedRow(9, "en", [tokens], len(tokens), [], [], -1, labels, [-1, -1], [], [], 2)
    stock = load_model(folder("xlm_r"), contract("xlm_r"), attn_implementation="sdpa").eval()
    with torch.no_grad():
        said = decode(backbone, processor, [asked(processor, 1), masked], None, CPU)[1]
        likeliest = stock(input_ids=torch.tensor([tokens])).logits[0, 1:3].argmax(-1).tolist()
    assert said == processor.tokenizer.decode(likeliest, skip_special_tokens=True).strip()


@pytest.mark.parametrize("family", ["xlm_r", "llava"])
def test_logits_are_computed_for_answers_only(
    family, folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of all tokens of a batch for XLM-R's vocabulary would not fit on a GPU."""
    processor, backbone = (
        load_processor(folder(family), family),
        load_backbone(folder(family), family).eval(),
    )
    rows, sizes, logits = [asked(processor, number) for number in (0, 1, 3)], [], backbone.lm_logits
    monkeypatch.setattr(
        backbone, "lm_logits", lambda states: sizes.append(len(states)) or logits(states)
    )
    with torch.no_grad():
        decode(backbone, processor, rows, None, CPU)
    assert sizes[0] == (sum(one.supervised for one in rows) if family == "xlm_r" else len(rows))
