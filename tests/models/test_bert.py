"""BERT in one file: tiny, and with real pretrained weights where they can be made."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from xstilts.data.encode import Encoder
from xstilts.errors import DataError
from xstilts.models.backbone import Backbone, load_backbone, load_model
from xstilts.models.batch import Segment, pack
from xstilts.models.families import contract
from xstilts.models.processor import Processor, load_processor
from xstilts.models.special_tokens import Layout
from xstilts.tasks.registry import TASKS
from xstilts.tasks.task import Example

MINILM, E5 = "sentence-transformers/all-MiniLM-L6-v2", "intfloat/multilingual-e5-small"
PAIRS = [
    ("A man holds a red umbrella.", "Somebody is outdoors in the rain."),
    ("Two dogs", "Zwei Hunde laufen über eine Wiese, und niemand sieht sie."),
    ("ዜና", "ข่าว"),
]


def real_pairs(processor: Processor) -> list[dict[str, torch.Tensor]]:
    """PAIRS as the stock tokenizer encodes them."""
    return [dict(processor.tokenizer(*pair, return_tensors="pt")) for pair in PAIRS]


def ids(encoded: dict[str, torch.Tensor]) -> list[int]:
    return [int(token) for token in encoded["input_ids"][0]]


@pytest.mark.slow
@pytest.mark.parametrize("name", [MINILM, E5])
def test_real_weights_packed_equal_stock_bert_alone(name: str, real_berts: Path) -> None:
    folder = real_berts / name
    encoded = real_pairs(load_processor(folder, "bert"))
    ours = load_backbone(folder, "bert")
    stock = load_model(folder, contract("bert"), attn_implementation="sdpa").eval()
    states = ours(pack([Segment(ids(pair)) for pair in encoded], ours))
    alone = torch.cat([stock.bert(**pair).last_hidden_state[0] for pair in encoded])
    assert (states - alone).abs().max() < 1e-5

    direction = torch.randn(ours.width, generator=torch.Generator().manual_seed(0))
    for out in (states, alone):
        (out.tanh() @ direction).mean().backward()
    theirs, compared = dict(stock.named_parameters()), 0
    for parameter_name, parameter in ours.model.named_parameters():
        if parameter.grad is not None:
            gradient = theirs[parameter_name].grad
            assert (parameter.grad - gradient).abs().max() < 1e-5, parameter_name
            compared += 1
    assert compared == 5 + 16 * ours.layers  # embeddings and layers


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "layout"),
    [
        (MINILM, Layout((101,), (102,), (102,), second_type=1)),
        (E5, Layout((0,), (2, 2), (2,), second_type=0)),
    ],
)
def test_special_tokens_and_types_are_those_of_the_tokenizer(
    name: str, layout: Layout, real_berts: Path
) -> None:
    processor = load_processor(real_berts / name, "bert")
    assert processor.layout == layout
    for pair in real_pairs(processor):
        types = pair.get("token_type_ids", torch.zeros_like(pair["input_ids"]))
        assert layout.token_types(ids(pair)) == types[0].tolist()


@pytest.mark.slow
def test_encoded_pairs_are_those_of_the_stock_tokenizer(real_berts: Path) -> None:
    processor = load_processor(real_berts / MINILM, "bert")
    encoder = Encoder(TASKS["mnli"], processor, "head", {"max_length": 64}, "first")
    for pair, stock in zip(PAIRS, real_pairs(processor), strict=True):
        (row,) = encoder.rows(Example(id="0", text=pair[0], text_pair=pair[1], label=0))
        assert row["segments"] == [ids(stock)]


@pytest.mark.slow
def test_special_tokens_that_a_text_spells_out_are_text(real_berts: Path) -> None:
    processor = load_processor(real_berts / MINILM, "bert")
    ids, _ = processor.text_tokens("a [SEP] b [MASK] [CLS] [PAD] [UNK]")
    assert not set(ids) & set(processor.tokenizer.all_special_ids)


@pytest.mark.slow
def test_a_model_without_an_lm_head_trains_heads_and_refuses_words(real_berts: Path) -> None:
    backbone = load_backbone(real_berts / MINILM, "bert")
    assert not [name for name, _ in backbone.named_parameters() if ".cls." in name]
    with pytest.raises(DataError, match="no weights of an LM head; use objective: head"):
        backbone.lm_logits(torch.zeros(1, backbone.width))


def test_a_folder_without_the_family_s_weights_is_refused(folder, tmp_path: Path) -> None:
    """Its config.json says that it is one."""
    copied = shutil.copytree(folder("xlm_r"), tmp_path / "copied")
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(config | {"model_type": "bert"}))
    with pytest.raises(
        DataError, match=r"missing: 53 weights of family bert, such as bert|describes a model of"
    ):
        load_backbone(copied, "bert")


def test_the_second_text_has_a_type_of_its_own(folder) -> None:
    backbone, processor = (f(folder("bert"), "bert") for f in (load_backbone, load_processor))
    first, second = (processor.text_tokens(text)[0] for text in ("ba ko", "ri"))
    layout = processor.layout
    pair = [*layout.start, *first, *layout.between, *second, *layout.end]
    count = len(second) + 1
    assert backbone.token_types(Segment(pair)).tolist() == [0] * (len(pair) - count) + [1] * count
    single = [*layout.start, *first, *layout.end]
    assert backbone.token_types(Segment(single)).tolist() == [0] * len(single)


def test_types_change_the_states(folder) -> None:
    backbone, processor = (f(folder("bert"), "bert") for f in (load_backbone, load_processor))
    layout = processor.layout
    pair = Segment([*layout.start, 300, *layout.between, 301, *layout.end])
    typed = backbone(pack([pair], backbone))
    backbone.layout = Layout(layout.start, layout.between, layout.end, second_type=0)
    assert (typed - backbone(pack([pair], backbone))).abs().max() > 1e-3


def test_types_need_the_layout_of_the_tokenizer(folder) -> None:
    model = load_model(folder("bert"), contract("bert"), attn_implementation="sdpa")
    with pytest.raises(ValueError, match="has token types: pass the layout"):
        pack([Segment([5, 6])], Backbone(model, contract("bert")))
