"""Every family equals what nobody here wrote: the stock transformers model, fed by its own
processor. Inputs, hidden states, logits, generated answers, and what trains.
"""

import hashlib
import re
from typing import Any

import pytest
import torch

from tests.models.conftest import CASES, family_of, inputs_of, png, shown_ids, stock_inputs
from xstilts.data.encoded import EncodedRow
from xstilts.data.sequence import IGNORED
from xstilts.models.backbone import Backbone, load_backbone, load_model
from xstilts.models.batch import Segment, pack
from xstilts.models.families import contract
from xstilts.models.lora import add_lora, trainable_state
from xstilts.models.processor import Processor, load_processor
from xstilts.scoring import decode as decoding

MULTIMODAL = [case for case in CASES if contract(family_of(case)).vision]
CAUSAL = [case for case in CASES if contract(family_of(case)).causal]
#: None, one, and two in a row of other sizes.
SHOWN = {"no picture": (), "one": ((40, 24),), "two in a row": ((24, 56), (30, 30))}
NEW_TOKENS = 12


class Loaded:
    """One case: ours, and the stock model beside it."""

    def __init__(self, case: str, where: Any) -> None:
        self.case, self.where, self.family = case, where, family_of(case)
        self.processor: Processor = load_processor(where, self.family)
        self.ours: Backbone = load_backbone(where, self.family)
        self.stock: Any = load_model(
            where, contract(self.family), attn_implementation="sdpa"
        ).eval()

    def rows(self, texts: list[str]) -> list[tuple[list[bytes], str]]:
        """(pictures, text) of a few examples."""
        shown = SHOWN.values() if self.processor.pictures else [()] * 2
        return [
            ([png(*size, seed) for seed, size in enumerate(sizes)], text)
            for sizes, text in zip(shown, texts, strict=False)
        ]

    def segment(self, pictures: list[bytes], text: str) -> Segment:
        """As encoding lays out one text."""
        ids = self.processor.text_tokens(text)[0]
        ids = [*shown_ids(self.processor, pictures), *ids]
        if not contract(self.family).causal:
            layout = self.processor.layout
            ids = [*layout.start, *ids, *layout.end]
        return Segment(ids, inputs_of(self.processor, pictures))


@pytest.fixture(scope="module")
def loaded(folder):
    """Case → Loaded, made once. Tests must not change the models."""
    made: dict[str, Loaded] = {}

    def get(case: str) -> Loaded:
        if case not in made:
            made[case] = Loaded(case, folder(case))
        return made[case]

    return get


@pytest.mark.parametrize("case", CASES)
def test_ids_and_pixels_are_those_of_the_stock_processor(case, loaded, texts):
    given = loaded(case)
    for pictures, text in given.rows(texts):
        expected = stock_inputs(case, given.where, pictures, text)
        segment = given.segment(pictures, text)
        assert list(segment.input_ids) == expected["input_ids"][0].tolist()
        if not pictures:
            continue
        pixels = torch.cat([image.pixel_values for image in segment.images])
        # Stock processors pad pictures with fewer tiles than others.
        theirs = expected["pixel_values"]
        if theirs.ndim == 5:
            theirs = torch.cat(
                [
                    tiles[: len(image.pixel_values)]
                    for tiles, image in zip(theirs, segment.images, strict=True)
                ]
            )
        assert torch.equal(pixels, theirs)


@pytest.mark.parametrize("case", CASES)
def test_states_and_logits_are_those_of_the_stock_model(case, loaded, texts):
    given = loaded(case)
    of, rows = contract(given.family), given.rows(texts)
    batch = pack([given.segment(*row) for row in rows], given.ours)
    expected, logits = [], []
    with torch.inference_mode():
        states = given.ours(batch)
        ours = given.ours.lm_logits(states)
        for pictures, text in rows:
            inputs = stock_inputs(case, given.where, pictures, text)
            made = given.stock(**inputs, output_hidden_states=True)
            expected.append(made.hidden_states[-1][0])
            logits.append(made.logits[0])
    state_gap = float((states - torch.cat(expected)).abs().max())
    scale = float(torch.cat(logits).abs().max())
    logit_gap = float((ours - torch.cat(logits)).abs().max())
    assert of.causal or given.processor.pictures is None
    assert state_gap < 1e-5
    assert logit_gap < 1e-5 * max(1.0, scale)


@pytest.mark.parametrize("case", CAUSAL)
def test_greedy_answers_are_those_of_generate(case, loaded, texts, monkeypatch):
    monkeypatch.setattr(decoding, "MAX_TOKENS", NEW_TOKENS)
    given = loaded(case)
    tokenizer, rows, stored, expected = given.processor.tokenizer, [], {}, []
    # An answer has no placeholder of an image.
    more = {"suppress_tokens": [given.processor.image_token_id]} if case in MULTIMODAL else {}
    for number, (pictures, text) in enumerate(given.rows(texts)):
        segment = given.segment(pictures, text)
        names = [hashlib.sha256(data).hexdigest() for data in pictures]
        stored |= dict(zip(names, pictures, strict=True))
        prompt = list(segment.input_ids)
        rows.append(
            EncodedRow(
                row=number, language="en", segments=[[*prompt, 5]], length=len(prompt) + 1, images=names,
                grids=[list(image.grid) for image in segment.images], label=-1,
                labels=[IGNORED] * (len(prompt) - 1) + [5, IGNORED], span=[], offsets=[], words=[], supervised=1,
                starts=[],
            )
        )  # fmt: skip
        made = given.stock.generate(
            **stock_inputs(case, given.where, pictures, text), do_sample=False, max_new_tokens=NEW_TOKENS,
            eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, **more,
        )[0, len(prompt):]  # fmt: skip
        assert len(made) >= 1
        expected.append(tokenizer.decode(made, skip_special_tokens=True).strip())
    with torch.inference_mode():
        answers = decoding.decode(given.ours, given.processor, rows, stored, torch.device("cpu"))
    assert answers == expected
    assert any(answers)


_ATTENTION = [f"self_attn.{name}_proj" for name in "koqv"]
#: Names of what LoRA adapts in a layer, in order.
DECODER = ["mlp.down_proj", "mlp.gate_proj", "mlp.up_proj", *_ATTENTION]
EXPERTS = ["mlp.experts.down_proj", "mlp.experts.gate_up_proj", *_ATTENTION]
ENCODER = [
    "attention.output.dense",
    *(f"attention.self.{name}" for name in ("key", "query", "value")),
    "intermediate.dense",
    "output.dense",
]
#: What a pattern without the name of the text stack would also adapt.
ELSEWHERE = re.compile(r"vision|visual|projector|lm_head|embed")


@pytest.mark.parametrize("case", CASES)
def test_lora_adapts_every_layer_of_the_text_stack_and_nothing_else(case, folder):
    backbone = load_backbone(folder(case), family_of(case))
    names = add_lora(backbone, 2, 4)
    stack = f"model.{contract(family_of(case)).text}."
    kinds = DECODER if backbone.contract.causal else ENCODER
    if backbone.contract.lora_parameters:
        kinds = EXPERTS
    layers = f"{stack}layers" if backbone.contract.causal else f"{stack}encoder.layer"
    assert names == sorted(f"{layers}.{layer}.{kind}" for layer in range(3) for kind in kinds)
    assert not [name for name in names if ELSEWHERE.search(name)]
    trained = set(trainable_state(backbone, "lora"))
    # peft keeps the two adapters of a layer's experts in nested modules.
    nested = {".experts.down_proj": ".experts", ".experts.gate_up_proj": ".experts.base_layer"}
    for target, module in nested.items():
        names = [name.replace(target, module) for name in names]
    assert trained == {f"{n}.lora_{side}.default.weight" for n in names for side in "AB"}


@pytest.mark.parametrize("case", CASES)
def test_full_tuning_trains_everything_but_tower_and_projector(case, loaded):
    backbone = loaded(case).ours
    frozen = {name for name, p in backbone.named_parameters() if not p.requires_grad}
    expected = {
        name
        for name, _ in backbone.named_parameters()
        if backbone.contract.vision
        and not name.startswith((f"model.{backbone.contract.text}.", "model.lm_head."))
    }
    assert frozen == expected
    assert bool(frozen) == (case in MULTIMODAL)
