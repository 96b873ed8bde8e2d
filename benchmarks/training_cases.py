"""Cases of `python -m benchmarks.training`: rows, and models with the same weights for all
alternatives.

Rows have as many tokens as rows of published data with XLM-R's tokenizer: quantiles of XNLI's
English validation rows, of SQuAD's validation rows, and of the 4,078 dev and test sentences of UD
English EWT (15d613d) times 1.33. Those have 12.1 words each, the training sentences 16.1 (201,962
in 12,544, stats.xml). Tokens are random, with a rule that can be learned in a few updates, so that
equal metrics mean equal training. The vocabulary has 16,000 entries: with all 250,002 of XLM-R,
embeddings would take most of the time of so narrow a model, unlike in XLM-R.
"""

import bisect
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import torch
import transformers as tf
from torch import nn

from benchmarks.input import photo

START, PAD, END = 0, 1, 2
#: Tokens that carry a label or mark an answer, and all others.
MARKS, WORDS = range(10, 40), range(100, 600)
VOCABULARY, IMAGE = 16_000, 15_999
IMAGE_TOKENS, TAGS, CLASSES = 576, 17, 3
#: Shares of rows that have at most as many tokens as the entry of LENGTHS.
SHARES = (0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1)
LENGTHS: Mapping[str, Sequence[int]] = {
    "nli": (16, 20, 22, 26, 28, 32, 37, 40, 45, 52, 57, 60, 66, 68),
    "squad": (57, 112, 131, 148, 159, 168, 181, 193, 209, 234, 283, 322, 384, 384),  # cut at 384
    "pos": (3, 5, 6, 9, 11, 15, 18, 23, 27, 35, 47, 62, 86, 128),  # cut at 128
}


@dataclass(frozen=True)
class Case:
    """One kind of fine-tuning.

    Attributes:
        title: Its name in tables.
        format: The task's format, and `objective`, as in plans.
        objective: `head` or `lm`.
        lengths: Key of LENGTHS.
        max_length: Where recipes pad to one length, they pad to this.
        batch: Examples of an update.
        updates: Updates of one epoch.
        width: Width of the hidden states; heads of 64 channels.
        layers: Layers of the text stack.
        lr: Peak learning rate.
        metric: What is compared at the end.
        target: Alternative → ratio that the project wants to reach.
    """

    title: str
    format: str
    objective: str
    lengths: str
    max_length: int
    batch: int
    updates: int
    metric: str
    target: Mapping[str, float]
    width: int = 192
    layers: int = 4
    lr: float = 1e-3
    images: bool = False

    @property
    def family(self) -> str:
        """The family of the model."""
        if self.objective == "head":
            return "xlm_r"
        return "llava" if self.images else "llama"


CASES: Mapping[str, Case] = {
    "nli": Case(
        "NLI", "classification", "head", "nli", 128, 32, 24, "accuracy",
        {"padding": 3.6, "default": 1.8, "tuned": 1.05},
    ),
    "squad": Case(
        "SQuAD", "span", "head", "squad", 384, 16, 8, "exact match",
        {"padding": 3.4, "default": 1.8, "tuned": 1.05},
    ),
    "pos": Case(
        "POS", "tagging", "head", "pos", 128, 32, 24, "token accuracy",
        {"padding": 6.4, "default": 2.4, "tuned": 1.05},
    ),
    "captions": Case(
        "captions", "generation", "lm", "nli", 768, 8, 6, "loss",
        {"default": 1.8, "tuned": 1.5}, width=128, images=True,
    ),
    "text": Case(
        "text generation", "generation", "lm", "pos", 128, 16, 8, "loss",
        {"tuned": 1.05, "flattening": 1.05},
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One example: token ids, and what its format has of the rest."""

    ids: list[int]
    label: int = 0
    labels: list[int] = field(default_factory=list)
    span: tuple[int, int] = (0, 0)
    context: int = 0
    image: int = -1


def rows_of(case: Case, count: int, seed: int) -> list[Row]:
    """Random rows; equal for equal seeds."""
    rng = random.Random(seed)
    return [_row(case, index, rng) for index in range(count)]


def _row(case: Case, index: int, rng: random.Random) -> Row:
    length = _length(LENGTHS[case.lengths], rng)
    special = 4 if case.format in ("classification", "span") else 2
    words = [WORDS[int(len(WORDS) * rng.random() ** 3)] for _ in range(max(1, length - special))]
    if case.format == "tagging":
        labels = [-100, *(word % TAGS for word in words), -100]
        return Row([START, *words, END], labels=labels)
    if case.format == "classification":
        mark = rng.choice(MARKS)
        for _ in range(len(words)):
            words[rng.randrange(len(words))] = mark
        half = len(words) * 2 // 3
        ids = [START, *words[:half], END, END, *words[half:], END]
        return Row(ids, label=mark % CLASSES)
    if case.format == "span":
        question, context = words[:12], words[12:]
        first = rng.randrange(len(context) - 1)
        last = min(first + rng.randrange(1, 4), len(context) - 1)
        context[first], context[last] = MARKS[0], MARKS[1]
        before = len(question) + 3
        ids = [START, *question, END, END, *context, END]
        return Row(ids, span=(before + first, before + last), context=before)
    prompt = [START, *words[: len(words) // 2]]
    answer = [*words[len(words) // 2 :], END]
    pictures = [IMAGE] * IMAGE_TOKENS if case.images else []
    ids = [START, *pictures, *prompt[1:], *answer]
    labels = [-100] * (len(ids) - len(answer)) + answer
    return Row(ids, labels=labels, image=index if case.images else -1)


def _length(quantiles: Sequence[int], rng: random.Random) -> int:
    share = rng.random()
    place = bisect.bisect_right(SHARES, share) - 1
    part = (share - SHARES[place]) / (SHARES[place + 1] - SHARES[place])
    return round(quantiles[place] + part * (quantiles[place + 1] - quantiles[place]))


def photos(count: int) -> list[bytes]:
    """JPEG files of the usual size of photos on the web."""
    return [photo(seed, 640, 480) for seed in range(count)]


def encoded(case: Case, rows: Sequence[Row], names: Sequence[str]) -> pa.Table:
    """The rows as xstilts.data.encode writes them. names: SHA-256 of each image."""
    integers, lists = pa.int32(), pa.list_(pa.int32())
    schema = {
        "row": integers, "language": pa.string(), "segments": pa.list_(lists), "length": integers,
        "images": pa.list_(pa.string()), "grids": pa.list_(lists), "label": integers,
        "labels": lists, "span": lists, "offsets": lists, "words": lists, "supervised": integers,
        "starts": lists,
    }  # fmt: skip
    lines = [
        {
            "row": index, "language": "en", "segments": [row.ids], "length": len(row.ids),
            "images": [names[row.image]] if row.image >= 0 else [],
            "grids": [[]] if row.image >= 0 else [],
            "label": row.label, "labels": _shifted(case, row), "span": [*row.span],
            "offsets": _offsets(row), "words": _words(case, row),
            "supervised": sum(label >= 0 for label in row.labels) or 1, "starts": [],
        }
        for index, row in enumerate(rows)
    ]  # fmt: skip
    return pa.Table.from_pylist(lines, schema=pa.schema(schema))


def _shifted(case: Case, row: Row) -> list[int]:
    """For `lm`, the token to be predicted at each place."""
    return [*row.labels[1:], -100] if case.objective == "lm" else row.labels


def _words(case: Case, row: Row) -> list[int]:
    if case.format != "tagging":
        return []
    return [place - 1 if label >= 0 else -1 for place, label in enumerate(row.labels)]


def _offsets(row: Row) -> list[int]:
    if not row.context:
        return []
    inside = range(row.context, len(row.ids) - 1)
    return [v for at in range(len(row.ids)) for v in ((at, at + 1) if at in inside else (-1, -1))]


#: Outputs of transformers' head: classes, tags, or start and end.
_OUTPUTS = {"classification": CLASSES, "tagging": TAGS, "span": 2}


def _text(case: Case) -> dict[str, Any]:
    return {
        "hidden_size": case.width, "num_hidden_layers": case.layers,
        "num_attention_heads": case.width // 64, "intermediate_size": 4 * case.width,
        "vocab_size": VOCABULARY, "max_position_embeddings": 1026,
        "bos_token_id": START, "pad_token_id": PAD, "eos_token_id": END,
    }  # fmt: skip


def config_of(case: Case) -> Any:
    """The configuration of the case's model. Without dropout of attention probabilities: xstilts
    has none, and it would slow the others down.
    """
    if case.family == "xlm_r":
        return tf.XLMRobertaConfig(
            **_text(case), type_vocab_size=1, hidden_dropout_prob=0.1,
            attention_probs_dropout_prob=0.0, num_labels=_OUTPUTS[case.format],
        )  # fmt: skip
    text = tf.LlamaConfig(**_text(case))
    if not case.images:
        return text
    tower = tf.CLIPVisionConfig(  # the geometry of LLaVA-1.5: 24 × 24 patches and a class token
        hidden_size=64, intermediate_size=256, num_hidden_layers=4, num_attention_heads=4,
        image_size=336, patch_size=14,
    )  # fmt: skip
    return tf.LlavaConfig(
        vision_config=tower, text_config=text, image_token_index=IMAGE,
        image_seq_length=IMAGE_TOKENS,
    )  # fmt: skip


#: Format, or objective → class of transformers' own model.
_CLASSES = {
    "classification": "XLMRobertaForSequenceClassification",
    "span": "XLMRobertaForQuestionAnswering",
    "tagging": "XLMRobertaForTokenClassification",
    "xlm_r": "XLMRobertaForMaskedLM",
    "llama": "LlamaForCausalLM",
    "llava": "LlavaForConditionalGeneration",
}


def model_of(case: Case, seed: int, head: bool) -> Any:
    """A model with the weights of a seed; head: with transformers' head for the task."""
    torch.manual_seed(seed)
    config = config_of(case)
    whole: Any = getattr(tf, _CLASSES[case.family])(config)
    if not head or case.objective == "lm":
        return whole
    model: Any = getattr(tf, _CLASSES[case.format])(config)
    model.roberta.load_state_dict(whole.roberta.state_dict())
    return model


def picture_processor() -> Any:
    """LLaVA-1.5's preparation of images."""
    return tf.CLIPImageProcessorPil(
        size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336}
    )


def freeze_vision(model: nn.Module) -> None:
    """What xstilts never trains."""
    for name, parameter in model.named_parameters():
        if "vision_tower" in name or "multi_modal_projector" in name:
            parameter.requires_grad_(False)
