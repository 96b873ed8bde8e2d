"""The short pre-training of a tiny backbone, and what is put into it before: stated openly, since
nothing transfers in seconds without it.

Put in by hand: the mimetic start (build.py) and, where the text begins with a word list
(`word/<class>/<concept>` rows in the same order in all languages), an *aligned start* of the word
vectors, as WECHSEL does with a dictionary: vector = aligned · concept + tongue · language + rest;
and a term of the loss that keeps the languages' mean states at the depth that retrieval reads
together (`together`), since next-word training parts them and cosines are not centred in XTREME-R.
Learnt: everything else, by masked words (encoder) or the next word (decoders) on the text of all
languages, and for image families by captions where the plan gives some.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from torch import Tensor

from xstilts.data.encoded import Images
from xstilts.miniature.backbones import DEFAULTS, build_model, save
from xstilts.models.backbone import Backbone, wrap
from xstilts.models.batch import Segment, pack
from xstilts.models.processor import Processor, load_processor
from xstilts.random_streams import generator
from xstilts.training.learning_rate import factor

#: What a plan's `build.pretrain` may set besides build.DEFAULTS. updates: None = by family.
PRETRAIN: Mapping[str, Any] = {
    "updates": None,
    "rows_per_step": 32,
    "lr": None,
    "aligned": 0.9,
    "tongue": 0.1,
    "mask": 0.2,
    "noise": 0.15,
    "switched": 0.4,
    "table_lr": 0.2,
    "any_language": 0.0,
    "together": 3.0,
    "caption_whole": False,
    "caption_updates": 80,
    "caption_lr": 2e-3,
    "longest": 128,
}
#: XTREME-R's Tatoeba reads this depth (tasks/retrieval.py says the source).
RETRIEVAL_DEPTH = 14 / 24
_UPDATES, _LR = (
    {"xlm_r": 500, "llava": 250, "qwen_vl": 250},
    {"xlm_r": 6e-3, "llava": 5e-3, "qwen_vl": 5e-3},
)


@dataclass(frozen=True)
class Document:
    """One text of one language; `kind` is `word/<class>/<concept>` in a word list. images:
    SHA-256 of its pictures.
    """

    language: str
    kind: str
    text: str
    images: tuple[str, ...] = ()


def documents(path: Path, language: str) -> list[Document]:
    """Every text in some records, whatever their format; labels and tags are not looked at."""
    found = []
    for row in pq.read_table(path).to_pylist():
        texts = [
            row["text"],
            row["text_pair"],
            row["question"],
            " ".join(row["tokens"]),
            *row["choices"],
            *row["targets"],
        ]
        kind, pictures = (
            row["id"] if row["id"].startswith("word/") else "text",
            tuple(row["images"]),
        )
        found += [
            Document(language, kind, text, pictures) for text in texts if text and text.strip()
        ]
    return found


def build_backbone(
    spec: Mapping[str, Any], texts: Mapping[str, Path], images: Mapping[str, Path], folder: Path
) -> tuple[Path, dict[str, Any]]:
    """Does a build step: tokenizer, weights from the seed, pre-training. texts, images: role
    `text:<task>:<language>` → records.parquet, images.parquet. Returns the model's folder and
    info (last losses, parameters, documents).
    """
    given = dict(spec["pretrain"])
    settings = {key: given.pop(key) for key in list(given) if key in DEFAULTS}
    if unknown := sorted(set(given) - set(PRETRAIN)):
        raise ValueError(
            f"build.pretrain has no settings {unknown}; it has {sorted({*PRETRAIN, *DEFAULTS})}"
        )
    if spec["tokenizer"].get("vocab_size"):
        settings["vocab_size"] = spec["tokenizer"]["vocab_size"]
    by_task: dict[str, list[Document]] = {}
    for role, path in texts.items():
        _, task, language = role.split(":")
        by_task.setdefault(task, []).extend(documents(path, language))
    learnt = [document for task in spec["text"]["tokenizer"] for document in by_task[task]]
    read = [document for task in spec["text"]["pretrain"] for document in by_task[task]]
    family, seed = spec["family"], int(spec["seed"])
    model, processor = build_model(family, seed, [document.text for document in learnt], settings)
    folder.mkdir(parents=True, exist_ok=True)
    save(model, processor, folder)
    info = pretrain(
        model,
        family,
        load_processor(folder, family),
        read,
        Images(list(images.values())),
        given,
        seed,
    )
    save(model, processor, folder)
    return folder, {
        **info,
        "documents": len(read),
        "parameters": sum(p.numel() for p in model.parameters()),
    }


def pretrain(
    model: Any, family: str, processor: Processor, read: Sequence[Document], pictures: Images,
    given: Mapping[str, Any], seed: int,
) -> dict[str, Any]:  # fmt: skip
    """Pre-trains a model in place. Deterministic for a seed, a number of threads and a machine."""
    chosen = {**PRETRAIN, **given}
    updates = _UPDATES[family] if chosen["updates"] is None else int(chosen["updates"])
    lr = _LR[family] if chosen["lr"] is None else float(chosen["lr"])
    words = [document for document in read if document.kind.startswith("word/")]
    align_words(model, processor, words, float(chosen["aligned"]), float(chosen["tongue"]), seed)
    backbone = wrap(model, family).train()
    plain = [
        document
        for document in read
        if not document.images and not document.kind.startswith("word/")
    ]
    longest = int(chosen["longest"])
    rows = [(ids(processor, document.text, longest), document.language) for document in plain]
    mates, switch = class_mates(processor, words), translations(processor, words)
    accepted = _accepted(switch, table_size(model)), float(chosen["any_language"])
    info: dict[str, Any] = {"updates": updates}
    if updates and rows:
        rng = Random(f"pretrain/{seed}")

        def step() -> Tensor:
            drawn = [rows[rng.randrange(len(rows))] for _ in range(int(chosen["rows_per_step"]))]
            batch: list[Sequence[int]] = []
            languages: list[str] = []
            for row, language in drawn:
                mixed = rng.random() < chosen["switched"]
                batch.append(switched(row, switch, rng) if mixed else row)
                languages += ["" if mixed else language] * len(row)
            if family == "xlm_r":
                middle, loss = _masked(backbone, processor, batch, chosen, mates, rng, accepted)
            else:
                middle, loss = _next_word(
                    backbone, [Segment(row) for row in batch], [0] * len(batch), accepted
                )
            return loss + float(chosen["together"]) * apart(middle, languages)

        info["loss"] = _optimise(_groups(model, lr, float(chosen["table_lr"])), step, updates)
    captions = [document for document in read if document.images]
    if captions and family != "xlm_r" and int(chosen["caption_updates"]):
        info["caption_loss"] = _captions(backbone, processor, captions, pictures, chosen, seed)
    backbone.eval()
    return info


def ids(processor: Processor, text: str, longest: int) -> list[int]:
    """A document's tokens; a line break separates its parts as it separates a pair of texts in
    encoding.
    """
    tokenizer = processor.tokenizer
    parts = [processor.text_tokens(part)[0] for part in text.split("\n") if part.strip()]
    encoder = processor.family == "xlm_r"
    between = [tokenizer.eos_token_id] * 2 if encoder else list(processor.newline)
    joined: list[int] = [tokenizer.bos_token_id] if encoder else []
    for index, part in enumerate(parts):
        joined += [*(between if index else []), *part]
    return [*joined[: longest - 1], tokenizer.eos_token_id]


def single_tokens(processor: Processor, words: Sequence[Document]) -> list[tuple[Document, int]]:
    """The words of the word list that are one token each, with it (in the middle of a text:
    after a space).
    """
    found = []
    for word in words:
        tokens, alone = (processor.text_tokens(text)[0] for text in (f"a {word.text}", "a"))
        if tokens[: len(alone)] == alone and len(tokens) == len(alone) + 1:
            found.append((word, tokens[-1]))
    return found


def align_words(
    model: Any,
    processor: Processor,
    words: Sequence[Document],
    aligned: float,
    tongue: float,
    seed: int,
) -> int:
    """Gives translations similar word vectors; returns how many words were set. Words that
    languages share (names, digits) keep one vector. aligned 0 does nothing.
    """
    if not aligned or not words:
        return 0
    table = model.get_input_embeddings().weight
    draws = generator("aligned", seed)
    deviation, width = float(table.detach().std()), table.shape[1]

    def drawn() -> Tensor:
        return torch.randn(width, generator=draws)

    concepts: dict[str, Tensor] = {}
    tongues: dict[str, Tensor] = {}
    done: set[int] = set()
    with torch.no_grad():
        for word, token in single_tokens(processor, words):
            if word.kind not in concepts:
                concepts[word.kind] = drawn()
            if word.language not in tongues:
                tongues[word.language] = drawn()
            rest = max(0.0, 1.0 - aligned**2 - tongue**2) ** 0.5
            value = deviation * (
                aligned * concepts[word.kind] + tongue * tongues[word.language] + rest * drawn()
            )
            if token not in done:
                table[token] = value
                done.add(token)
    return len(done)


def class_mates(processor: Processor, words: Sequence[Document]) -> dict[int, list[int]]:
    """Token → tokens of the same language and word class, for in-class noise."""
    classes: dict[tuple[str, str], list[int]] = {}
    for word, token in single_tokens(processor, words):
        classes.setdefault((word.language, word.kind.split("/")[1]), []).append(token)
    return {token: members for members in classes.values() for token in members}


def translations(processor: Processor, words: Sequence[Document]) -> dict[int, list[int]]:
    """Token → the tokens of its concept in all languages, its own among them."""
    concepts: dict[str, list[int]] = {}
    for word, token in single_tokens(processor, words):
        concepts.setdefault(word.kind, []).append(token)
    return {token: members for members in concepts.values() for token in members}


def switched(row: Sequence[int], switch: Mapping[int, list[int]], rng: Random) -> list[int]:
    """A document with half of its words in other languages, where the word list knows them; the
    order of words stays.
    """
    return [
        rng.choice(switch[token]) if token in switch and rng.random() < 0.5 else token
        for token in row
    ]


def apart(states: Tensor, languages: Sequence[str]) -> Tensor:
    """How far the languages' mean states lie from their common mean, as a share of the states'
    variance around it: 0 when they coincide. states [T, width]; languages: of each token, "" for
    those that do not count.
    """
    names = sorted(set(languages) - {""})
    if len(names) < 2:
        return states.new_zeros(())
    means = torch.stack(
        [states[[i for i, one in enumerate(languages) if one == name]].mean(0) for name in names]
    )
    centre = means.mean(0)
    return (means - centre).square().sum(1).mean() / (states - centre).square().sum(
        1
    ).mean().detach()


def _masked(
    backbone: Backbone,
    processor: Processor,
    batch: Sequence[Sequence[int]],
    chosen: Mapping[str, Any],
    mates: Mapping[int, list[int]],
    rng: Random,
    accepted: tuple[Tensor, float],
) -> tuple[Tensor, Tensor]:
    """Masked words and, in the clear, wrong words of the same class; every word is scored, so
    that each must be judged. Returns the states at the depth that retrieval reads, and the loss.
    """
    special = set(processor.tokenizer.all_special_ids)
    seen: list[list[int]] = []
    truth: list[int] = []
    for row in batch:
        changed = []
        for token in row:
            draw = rng.random()
            scored = token not in special
            if scored and draw < chosen["mask"]:
                changed.append(int(processor.tokenizer.mask_token_id))
            elif scored and draw < chosen["mask"] + chosen["noise"] and token in mates:
                changed.append(rng.choice(mates[token]))
            else:
                changed.append(token)
            truth.append(token if scored else -100)
        seen.append(changed)
    middle, states = backbone.hidden_and_last(
        pack([Segment(row) for row in seen], backbone), RETRIEVAL_DEPTH
    )
    labels = torch.tensor(truth)
    at = labels != -100
    return middle, _word_loss(backbone.lm_logits(states[at]), labels[at], accepted)


def table_size(model: Any) -> int:
    """Tokens in the vocabulary, as the word vectors count them."""
    return int(model.get_input_embeddings().weight.shape[0])


def _accepted(switch: Mapping[int, list[int]], vocabulary: int) -> Tensor:
    """[vocabulary, languages]: the tokens that count as right where a token was right, itself at
    least.
    """
    width = max((len(set(tokens)) for tokens in switch.values()), default=1)
    rows = [sorted(set(switch.get(token, [token]))) for token in range(vocabulary)]
    return torch.tensor([[*row, *[-1] * (width - len(row))] for row in rows])


def _word_loss(logits: Tensor, labels: Tensor, accepted: tuple[Tensor, float] | None) -> Tensor:
    """Cross-entropy, a share of it (`accepted`) of the right concept in whatever language."""
    exact = F.cross_entropy(logits, labels)
    if accepted is None or not accepted[1]:
        return exact
    tokens, share = accepted
    right = tokens[labels]
    each = (
        logits.log_softmax(-1).gather(-1, right.clamp(min=0)).masked_fill(right < 0, float("-inf"))
    )
    return (1 - share) * exact - share * each.logsumexp(-1).mean()


def _next_word(
    backbone: Backbone,
    segments: Sequence[Segment],
    skip: Sequence[int],
    accepted: tuple[Tensor, float] | None = None,
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of each token after the first `skip` + 1 of its segment; before it, the
    states at the depth that retrieval reads.
    """
    batch = pack(segments, backbone)
    middle, states = backbone.hidden_and_last(batch, RETRIEVAL_DEPTH)
    keep: list[int] = []
    labels: list[int] = []
    start = 0
    for segment, first in zip(segments, skip, strict=True):
        count = len(segment.input_ids)
        begin = max(first - 1, 0)
        keep += range(start + begin, start + count - 1)
        labels += list(segment.input_ids[begin + 1 :])
        start += count
    return middle, _word_loss(
        backbone.lm_logits(states[torch.tensor(keep)]), torch.tensor(labels), accepted
    )


def _captions(
    backbone: Backbone, processor: Processor, captions: Sequence[Document], pictures: Images,
    chosen: Mapping[str, Any], seed: int,
) -> float:  # fmt: skip
    """Trains tower and projector on captions, since they are frozen ever after. The language
    model stands still, or the English of the captions would pull the languages apart (unless
    `caption_whole`).
    """
    rng, rows = Random(f"captions/{seed}"), []
    for document in captions:
        data = [pictures[sha] for sha in document.images]
        lead = [token for one in data for token in processor.image_placeholder(one)]
        text = ids(processor, document.text, int(chosen["longest"]))
        rows.append(
            (Segment([*lead, *text], [processor.image_inputs(one) for one in data]), len(lead))
        )
    sight = [p for p in backbone.parameters() if not p.requires_grad]
    speech = [p for p in backbone.parameters() if p.requires_grad]

    def train(seen: bool) -> None:
        for parameter in sight:
            parameter.requires_grad_(seen)
        for parameter in speech:
            parameter.requires_grad_(not seen or bool(chosen["caption_whole"]))

    def step() -> Tensor:
        batch = [rows[rng.randrange(len(rows))] for _ in range(int(chosen["rows_per_step"]))]
        return _next_word(backbone, [segment for segment, _ in batch], [lead for _, lead in batch])[
            1
        ]

    train(True)
    parameters = [p for p in backbone.parameters() if p.requires_grad]
    groups = [{"params": parameters, "peak": float(chosen["caption_lr"])}]
    loss = _optimise(groups, step, int(chosen["caption_updates"]))
    train(False)
    return loss


def _groups(model: Any, lr: float, table_factor: float) -> list[dict[str, Any]]:
    """AdamW groups: the table of word vectors learns slower, or it would drift from its aligned
    start.
    """
    table = model.get_input_embeddings().weight
    rest = [p for p in model.parameters() if p.requires_grad and p is not table]
    return [{"params": rest, "peak": lr}, {"params": [table], "peak": lr * table_factor}]


def _optimise(groups: Sequence[dict[str, Any]], step: Callable[[], Tensor], updates: int) -> float:
    """AdamW with warm-up and linear decay from each group's peak; the mean loss of the last 20
    updates.
    """
    parameters = [p for group in groups for p in group["params"]]
    optimiser = torch.optim.AdamW(
        [*groups], lr=0.0, weight_decay=0.01, betas=(0.9, 0.98), fused=True
    )
    losses: list[float] = []
    for update in range(updates):
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * factor(update, updates, 0.08, "linear")
        optimiser.zero_grad(set_to_none=True)
        loss = step()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        losses.append(loss.item())
    return sum(losses[-20:]) / len(losses[-20:])
