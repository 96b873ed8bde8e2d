"""The short pre-training of a tiny backbone, and what is built into it first. Without this nothing
would transfer between languages after a few hundred updates.

Built in: mimetic initialization (backbones.py); where the text starts with a word list, aligned
word vectors (word_list.py); and a loss term (`language_pull`) that pulls the languages' mean hidden
states together at the depth that retrieval reads, because next-word training separates them and
XTREME-R does not center cosines.
Learned: everything else, from masked words (encoders) or the next word (decoders) on the text of
all languages, and for multimodal families from captions if the plan provides some.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from xstilts.data.encoded import Images
from xstilts.miniature.backbones import DEFAULTS, build_model, save
from xstilts.miniature.word_list import (
    Document,
    align_words,
    class_mates,
    documents,
    switched,
    translations,
)
from xstilts.models.backbone import Backbone, wrap
from xstilts.models.batch import Segment, pack
from xstilts.models.families import contract
from xstilts.models.processor import Processor, load_processor
from xstilts.plan.normalize import PRETRAIN_SPELLINGS
from xstilts.training.learning_rate import factor

#: What a plan's `build.pretrain` may set besides backbones.DEFAULTS. updates, lr: None means the
#: family's. language_share, language_pull: see word_list.align_words and `distance`.
PRETRAIN: Mapping[str, Any] = {
    "updates": None,
    "rows_per_step": 32,
    "lr": None,
    "aligned": 0.9,
    "language_share": 0.1,
    "mask": 0.2,
    "noise": 0.15,
    "switched": 0.4,
    "table_lr": 0.2,
    "any_language": 0.0,
    "language_pull": 3.0,
    "caption_whole": False,
    "caption_updates": 80,
    "caption_lr": 2e-3,
    "longest": 128,
}
#: The depth that XTREME-R's Tatoeba reads (source: tasks/retrieval.py).
RETRIEVAL_DEPTH = 14 / 24
#: Spelling in specs → name here.
_PLAIN_NAMES = {spelling: name for name, spelling in PRETRAIN_SPELLINGS.items()}


def build_backbone(
    spec: Mapping[str, Any], texts: Mapping[str, Path], images: Mapping[str, Path], folder: Path
) -> tuple[Path, dict[str, Any]]:
    """Runs a build step: tokenizer, weights from the seed, pre-training.

    Args:
        spec: The step's spec.
        texts: Role `text:<task>:<language>` → records.parquet.
        images: Role → images.parquet.
        folder: Where the model is written.

    Returns:
        The folder, and info: last losses, parameters, documents.
    """
    pretraining = {_PLAIN_NAMES.get(key, key): value for key, value in spec["pretrain"].items()}
    settings = {key: pretraining.pop(key) for key in list(pretraining) if key in DEFAULTS}
    if unknown := sorted(set(pretraining) - set(PRETRAIN)):
        raise ValueError(
            f"build.pretrain: unknown settings {unknown}; allowed: {sorted({*PRETRAIN, *DEFAULTS})}"
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
        pretraining,
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
    settings: Mapping[str, Any], seed: int,
) -> dict[str, Any]:  # fmt: skip
    """Pre-trains a model in place. Deterministic for a seed, a number of threads and a machine.

    Args:
        model: A transformers model, changed in place.
        family: Its family.
        processor: Its processor.
        read: The documents of all languages.
        pictures: Images of the captions among them.
        settings: Keys of PRETRAIN.
        seed: Seed of everything drawn here.

    Returns:
        Number of updates and last losses.
    """
    chosen, of = {**PRETRAIN, **settings}, contract(family)
    updates = of.tiny.updates if chosen["updates"] is None else int(chosen["updates"])
    lr = of.tiny.lr if chosen["lr"] is None else float(chosen["lr"])
    words = [document for document in read if document.kind.startswith("word/")]
    share = float(chosen["language_share"])
    align_words(model, processor, words, float(chosen["aligned"]), share, seed)
    backbone = wrap(model, family, layout=processor.layout).train()
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
            if of.causal:
                middle, loss = _next_word(
                    backbone, [Segment(row) for row in batch], [0] * len(batch), accepted
                )
            else:
                middle, loss = _masked(backbone, processor, batch, chosen, mates, rng, accepted)
            return loss + float(chosen["language_pull"]) * distance(middle, languages)

        info["loss"] = _optimise(_groups(model, lr, float(chosen["table_lr"])), step, updates)
    captions = [document for document in read if document.images]
    if captions and of.vision and int(chosen["caption_updates"]):
        info["caption_loss"] = _captions(backbone, processor, captions, pictures, chosen, seed)
    backbone.eval()
    return info


def ids(processor: Processor, text: str, longest: int) -> list[int]:
    """Tokens of a document. Its lines are separated as encoding separates a pair of texts."""
    layout = processor.layout
    parts = [processor.text_tokens(part)[0] for part in text.split("\n") if part.strip()]
    joined = list(layout.start)
    for index, part in enumerate(parts):
        joined += [*(layout.between if index else ()), *part]
    return [*joined[: longest - len(layout.end)], *layout.end]


def distance(states: Tensor, languages: Sequence[str]) -> Tensor:
    """Distance of the languages' mean states from their common mean, as a share of the states'
    variance around it: 0 if they coincide. states [T, width]; languages: of each token, "" for
    tokens that do not count.
    """
    names = sorted(set(languages) - {""})
    if len(names) < 2:
        return states.new_zeros(())
    means = torch.stack(
        [
            states[[i for i, language in enumerate(languages) if language == name]].mean(0)
            for name in names
        ]
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
    """Masked language modelling: some words are masked, and some replaced by others of their
    class. Every word is scored, so that the model must judge each. Returns the states at the depth
    that retrieval reads, and the loss.
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
    """Number of tokens in the embedding table."""
    return int(model.get_input_embeddings().weight.shape[0])


def _accepted(switch: Mapping[int, list[int]], vocabulary: int) -> Tensor:
    """[vocabulary, languages]: the tokens that count as correct in place of each token: itself and
    its translations, -1 for none.
    """
    width = max((len(set(tokens)) for tokens in switch.values()), default=1)
    rows = [sorted(set(switch.get(token, [token]))) for token in range(vocabulary)]
    return torch.tensor([[*row, *[-1] * (width - len(row))] for row in rows])


def _word_loss(logits: Tensor, labels: Tensor, accepted: tuple[Tensor, float] | None) -> Tensor:
    """Cross-entropy. A share of it (`accepted`) is that of the right concept in any language."""
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
    """The states at the depth that retrieval reads, and the cross-entropy of each token after the
    first `skip` + 1 of its segment.
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
    """Trains vision tower and projector on captions. They are frozen from then on. The language
    model does not train, because English captions would separate the languages (except with
    `caption_whole`).
    """
    rng, rows = Random(f"captions/{seed}"), []
    for document in captions:
        data = [pictures[sha] for sha in document.images]
        lead = [token for image in data for token in processor.image_placeholder(image)]
        text = ids(processor, document.text, int(chosen["longest"]))
        inputs = [processor.image_inputs(image) for image in data]
        rows.append((Segment([*lead, *text], inputs), len(lead)))
    vision = [p for p in backbone.parameters() if not p.requires_grad]
    language = [p for p in backbone.parameters() if p.requires_grad]

    def train_vision(on: bool) -> None:
        for parameter in vision:
            parameter.requires_grad_(on)
        for parameter in language:
            parameter.requires_grad_(not on or bool(chosen["caption_whole"]))

    def step() -> Tensor:
        batch = [rows[rng.randrange(len(rows))] for _ in range(int(chosen["rows_per_step"]))]
        segments, leads = [segment for segment, _ in batch], [lead for _, lead in batch]
        return _next_word(backbone, segments, leads)[1]

    train_vision(True)
    parameters = [p for p in backbone.parameters() if p.requires_grad]
    groups = [{"params": parameters, "peak": float(chosen["caption_lr"])}]
    loss = _optimise(groups, step, int(chosen["caption_updates"]))
    train_vision(False)
    return loss


def _groups(model: Any, lr: float, table_factor: float) -> list[dict[str, Any]]:
    """AdamW groups: the embedding table learns more slowly, or it would drift from its aligned
    start.
    """
    table = model.get_input_embeddings().weight
    rest = [p for p in model.parameters() if p.requires_grad and p is not table]
    return [{"params": rest, "peak": lr}, {"params": [table], "peak": lr * table_factor}]


def _optimise(groups: Sequence[dict[str, Any]], step: Callable[[], Tensor], updates: int) -> float:
    """AdamW with warm-up and linear decay from each group's peak. Returns the mean loss of the
    last 20 updates.
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
