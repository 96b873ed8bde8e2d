"""A tokenizer for text from data sets, in which a spelled-out special token is ordinary text.

`split_special_tokens=True` of transformers is not enough: a Unigram model (XLM-R) still matches
`<s>`, `</s>`, `<mask>` and `<unk>`, which are pieces of its vocabulary, and it also matches markup
that a tokenizer adds without the flag `special` (Qwen's `<tool_call>`). Here such pieces get names
that no text can match. All ids stay the same.
"""

import json
import re
from typing import Any

from tokenizers import Tokenizer

#: Added tokens that are markup although they lack the flag `special`: <tool_call>, [INST]. Added
#: words stay words.
_MARKUP = re.compile(r"<.*>|\[.*\]", re.DOTALL)


def plain_tokenizer(tokenizer: Any) -> Tokenizer:
    """The `tokenizers` tokenizer behind a transformers one, without control tokens.
    `encode(text, add_special_tokens=False)` returns `ids` and `offsets` in characters, equal to the
    original's for texts that do not spell out control tokens.
    """
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    control = set()
    for token in state["added_tokens"]:
        if token["special"] or _MARKUP.fullmatch(token["content"]):
            control.add(token["content"])
            token["special"], token["content"] = True, _unmatched(token["content"])
    _rename(state["model"], control)
    plain: Tokenizer = Tokenizer.from_str(json.dumps(state))
    plain.encode_special_tokens = True
    plain.no_padding()
    plain.no_truncation()
    return plain


def _unmatched(name: str) -> str:
    """The name with a leading space. No piece of a model contains a space, because pre-tokenizers
    replace it or split there.
    """
    return f" {name}"


def _rename(model: dict[str, Any], control: set[str]) -> None:
    """Renames control pieces of a model's vocabulary in place, and removes the merges that form
    them.
    """
    vocabulary = model["vocab"]
    if isinstance(vocabulary, dict):
        model["vocab"] = {
            _unmatched(piece) if piece in control else piece: i for piece, i in vocabulary.items()
        }
    else:
        model["vocab"] = [
            [_unmatched(piece) if piece in control else piece, score] for piece, score in vocabulary
        ]
    if model.get("unk_token") in control:
        model["unk_token"] = _unmatched(model["unk_token"])
    if "merges" in model:
        pairs = (
            merge if isinstance(merge, list) else merge.split(" ") for merge in model["merges"]
        )
        model["merges"] = [pair for pair in pairs if "".join(pair) not in control]
