"""Tokenizers without unknown tokens, one token a word in a small world, offsets into the text as
given.
"""

import pytest
from transformers import AutoTokenizer

from xstilts.miniature.backbones import build_tiny
from xstilts.miniature.tokenizers import train_tokenizer

FAMILIES = ["xlm_r", "bert", "llava", "qwen_vl"]
UNSEEN = {
    "Thai": "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์",
    "Georgian": "ყველა ადამიანი იბადება თავისუფალი და თანასწორი",
    "Amharic": "የሰው ልጅ ሁሉ ሲወለድ ነጻና በክብርና በመብትም እኩልነት ያለው ነው።",
}
SEEN = [
    f"the {size} dog sees {name} in the park."
    for size in ("big", "small")
    for name in ("anna", "Łukasz", "ben")
]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("script", list(UNSEEN))
def test_nothing_is_unknown_in_scripts_never_seen(family, script):
    tokenizer = train_tokenizer(family, SEEN, 600)
    ids = tokenizer.encode(UNSEEN[script], add_special_tokens=False)
    unknown = sum(i == tokenizer.unk_token_id for i in ids) / len(ids)
    assert unknown < 0.01
    if family == "xlm_r":  # its normaliser composes characters
        import unicodedata

        assert tokenizer.decode(ids).strip() == unicodedata.normalize("NFKC", UNSEEN[script])
    else:
        assert tokenizer.decode(ids).strip() == UNSEEN[script]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_word_of_a_small_world_is_one_token_wherever_it_stands(family):
    tokenizer = train_tokenizer(family, SEEN, 600)
    words = sorted({w.strip(".") for text in SEEN for w in text.split()})
    alone = {w: tokenizer.encode(w, add_special_tokens=False) for w in words}
    assert all(len(ids) == 1 for ids in alone.values())
    ids = tokenizer.encode("park anna park", add_special_tokens=False)
    assert ids == alone["park"] + alone["anna"] + alone["park"]
    assert len(tokenizer) < 450  # 256 bytes, special tokens and what these texts need


@pytest.mark.parametrize("family", FAMILIES)
def test_offsets_point_into_the_text(family):
    tokenizer = train_tokenizer(family, SEEN, 600)
    text = "the  dog sees Łukasz. ﬁne 公園"
    made = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    pieces = [text[a:b] for a, b in made["offset_mapping"]]
    assert pieces[0] == "the"
    assert "dog" in pieces
    assert pieces[pieces.index("sees") : pieces.index("sees") + 3] == ["sees", "Łukasz", "."]
    assert all(0 <= a <= b <= len(text) for a, b in made["offset_mapping"])


def test_layouts_and_special_tokens():
    xlm_r = train_tokenizer("xlm_r", SEEN, 600)
    ids = xlm_r("dog", "park")["input_ids"]
    assert xlm_r.convert_ids_to_tokens(ids) == ["<s>", "▁dog", "</s>", "</s>", "▁park", "</s>"]
    assert [xlm_r.convert_tokens_to_ids(t) for t in ("<s>", "<pad>", "</s>", "<unk>")] == [
        0,
        1,
        2,
        3,
    ]
    assert xlm_r.mask_token_id == len(xlm_r) - 1
    assert len(xlm_r.encode("<0x41>", add_special_tokens=False)) > 1  # bytes are no special tokens
    llava = train_tokenizer("llava", SEEN, 600)
    assert llava.convert_ids_to_tokens(llava("dog")["input_ids"]) == ["<s>", "Ġdog"]
    assert llava.image_token == "<image>"
    qwen = train_tokenizer("qwen_vl", SEEN, 600)
    assert qwen.convert_ids_to_tokens(qwen("dog")["input_ids"]) == ["Ġdog"]
    assert qwen.eos_token == "<|im_end|>"


@pytest.mark.parametrize("family", FAMILIES)
def test_the_auto_class_loads_them_unchanged(family, tmp_path):
    folder = build_tiny(family, 0, SEEN, {"hidden": 16, "layers": 1, "vocab_size": 400}, tmp_path)
    loaded, made = AutoTokenizer.from_pretrained(folder), train_tokenizer(family, SEEN, 400)
    for text in (*SEEN[:2], *UNSEEN.values()):
        assert loaded(text)["input_ids"] == made(text)["input_ids"]
    assert loaded.unk_token_id == made.unk_token_id


def test_the_vocabulary_has_at_most_its_size_and_too_small_a_size_is_refused():
    for family in FAMILIES:
        assert len(train_tokenizer(family, SEEN, 330)) <= 330
        with pytest.raises(ValueError, match="at least 320"):
            train_tokenizer(family, SEEN, 300)
    with pytest.raises(ValueError, match="unknown family 'ber'"):
        train_tokenizer("ber", SEEN, 400)
