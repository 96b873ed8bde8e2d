"""Stand-ins of published models: real tokenizer, real image processing, real positions and special
tokens; only width, depth and number of heads are small, and the weights are random.

`python -m xstilts.miniature.stand_ins DIR --tokenizers DIR` writes one folder per model, in the
layout of the hub. The published settings are those of xstilts.models.published.
"""

import argparse
import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xstilts.errors import DataError
from xstilts.models.published import PUBLISHED, Published
from xstilts.new_files import new_folder
from xstilts.random_streams import stream_seed

WIDTH, FF, HEADS, LAYERS = 32, 64, 2, 2
_HEAD_WIDTH = WIDTH // HEADS
#: Values of a text stack or a tower that are made small, where it has the key.
_SMALL: Mapping[str, Any] = {
    "hidden_size": WIDTH,
    "embed_dim": WIDTH,
    "intermediate_size": FF,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_heads": HEADS,
    "head_dim": _HEAD_WIDTH,
    "depth": 2 * LAYERS,
    "out_hidden_size": WIDTH,
    "moe_intermediate_size": FF,
    "num_experts": 4,
    "num_experts_per_tok": 2,
}


@dataclass(frozen=True)
class TokenizerSource:
    """Where a stand-in's tokenizer comes from.

    Attributes:
        folder: Name of the folder with the real tokenizer.
        below: Added tokens from this id on are left out.
        added: Tokens added from there on.
    """

    folder: str
    below: int | None = None
    added: tuple[str, ...] = ()


_LLAMA, _QWEN2, _QWEN3 = "llama2-tokenizer", "qwen2-tokenizer", "qwen3-tokenizer"
_IMAGE = 151646  # LLaVA with Qwen: <image> follows the three tokens of Qwen2's chat format
#: (model_type, model_type of its text stack) → tokenizer. LLaVA with Mistral and mBERT have none
#: here: their tokenizers are not among the real ones.
TOKENIZERS: Mapping[tuple[str, str], TokenizerSource] = {
    ("llava", "llama"): TokenizerSource(_LLAMA),
    ("llava_next", "llama"): TokenizerSource(_LLAMA),
    ("llama", "llama"): TokenizerSource(_LLAMA, below=32000),
    ("llava", "qwen2"): TokenizerSource(_QWEN2, _IMAGE, ("<image>",)),
    ("llava_onevision", "qwen2"): TokenizerSource(_QWEN2, _IMAGE, ("<image>", "<video>")),
    ("qwen2_vl", "qwen2_vl_text"): TokenizerSource(_QWEN2),
    ("qwen2_5_vl", "qwen2_5_vl_text"): TokenizerSource(_QWEN2),
    ("qwen3_vl", "qwen3_vl_text"): TokenizerSource(_QWEN3),
    ("qwen3_vl_moe", "qwen3_vl_moe_text"): TokenizerSource(_QWEN3),
    ("qwen2", "qwen2"): TokenizerSource(_QWEN3, below=151665),
    ("qwen3", "qwen3"): TokenizerSource(_QWEN3),
    ("xlm-roberta", "xlm-roberta"): TokenizerSource("xlm-roberta-tokenizer"),
    ("xlm-roberta-xl", "xlm-roberta-xl"): TokenizerSource("xlm-roberta-tokenizer"),
}


def tokenizer_source(published: Published) -> TokenizerSource | None:
    """The tokenizer of a published model's stand-in; None if there is no real one."""
    config = published.config
    return TOKENIZERS.get((config["model_type"], config.get("text_config", config)["model_type"]))


def available() -> list[str]:
    """Hub ids of the models that have a stand-in."""
    return [hub for hub, published in PUBLISHED.items() if tokenizer_source(published)]


def small_config(published: Published) -> dict[str, Any]:
    """config.json of a stand-in: the published one with small widths, depths and head counts."""
    config: dict[str, Any] = copy.deepcopy(dict(published.config))
    text, vision = config.get("text_config", config), config.get("vision_config", {})
    grouped = text.get("num_key_value_heads", HEADS) < text["num_attention_heads"]
    for part in (text, vision):
        part.update({key: value for key, value in _SMALL.items() if key in part})
    if "num_key_value_heads" in text:
        text["num_key_value_heads"] = 1 if grouped else HEADS
    if sections := text.get("rope_parameters", {}).get("mrope_section"):
        side = _HEAD_WIDTH // 2 * sections[1] // sum(sections)
        rope = {"mrope_section": [_HEAD_WIDTH // 2 - 2 * side, side, side]}
        text["rope_parameters"] = {**text["rope_parameters"], **rope}
    if "fullatt_block_indexes" in vision:  # every second block, so that others have windows
        vision["fullatt_block_indexes"] = list(range(1, vision["depth"], 2))
    if "deepstack_visual_indexes" in vision:  # one text layer takes the features of each
        count = len(vision["deepstack_visual_indexes"])
        vision["deepstack_visual_indexes"] = list(range(count))
        text["num_hidden_layers"] = count
    return config


def write_stand_in(hub: str, folder: Path, tokenizers: Path, seed: int = 0) -> Path:
    """Writes the stand-in of a published model; returns the folder. Equal arguments give equal
    bytes.

    Args:
        hub: Id of the published model.
        folder: To write to. Must be new or empty.
        tokenizers: Folder with the real tokenizers.
        seed: Of the weights.

    Raises:
        DataError: The model or its tokenizer is not available.
    """
    published = PUBLISHED.get(hub)
    source = tokenizer_source(published) if published else None
    if published is None or source is None:
        raise DataError(f"{hub}: no stand-in; available: {', '.join(available())}")
    if not (tokenizers / source.folder / "tokenizer.json").is_file():
        raise DataError(f"{hub}: {tokenizers / source.folder} has no tokenizer.json")
    folder.mkdir(parents=True, exist_ok=True)
    _write_tokenizer(tokenizers / source.folder, source, folder)
    if published.images:
        _write_json(folder / "preprocessor_config.json", published.images)
        _write_json(folder / "processor_config.json", _processor_config(published.config))
    _model(small_config(published), hub, seed).save_pretrained(folder)
    return folder


def _model(config: Mapping[str, Any], hub: str, seed: int) -> Any:
    """The transformers model with its LM head and random weights."""
    import torch
    import transformers as tf

    encoder = "type_vocab_size" in config
    kind = tf.AutoModelForMaskedLM if encoder else tf.AutoModelForCausalLM
    if "vision_config" in config:
        kind = tf.AutoModelForImageTextToText
    tf.utils.logging.disable_progress_bar()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed("stand-in", seed, hub))
        return kind.from_config(tf.AutoConfig.for_model(**config)).eval()


def _processor_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """processor_config.json: what the stock processor needs to count image tokens."""
    kind = config["model_type"]
    if not kind.startswith("llava"):
        name = {"qwen2_vl": "Qwen2VLProcessor", "qwen2_5_vl": "Qwen2_5_VLProcessor"}.get(kind)
        return {"processor_class": name or "Qwen3VLProcessor"}
    tower = config["vision_config"]
    counted: dict[str, Any] = {
        "patch_size": tower["patch_size"],
        "num_additional_image_tokens": int(tower["model_type"] == "clip_vision_model"),
    }
    if kind == "llava_onevision":
        counted = {
            "num_image_tokens": (tower["image_size"] // tower["patch_size"]) ** 2,
            "vision_aspect_ratio": config["vision_aspect_ratio"],
        }
    return {
        "processor_class": "".join(word.capitalize() for word in kind.split("_")) + "Processor",
        "image_token": "<image>",
        "vision_feature_select_strategy": config["vision_feature_select_strategy"],
        **counted,
    }


def _write_tokenizer(real: Path, source: TokenizerSource, folder: Path) -> None:
    """The real tokenizer with the added tokens of the model."""
    tokenizer = json.loads((real / "tokenizer.json").read_text(encoding="utf-8"))
    settings = json.loads((real / "tokenizer_config.json").read_text(encoding="utf-8"))
    if source.below is not None:
        below = source.below
        kept = [token for token in tokenizer["added_tokens"] if token["id"] < below]
        gone = {token["content"] for token in tokenizer["added_tokens"]} - {
            token["content"] for token in kept
        }
        plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
        new = [
            {"id": below + place, "content": content, "special": True, **plain}
            for place, content in enumerate(source.added)
        ]
        tokenizer["added_tokens"] = [*kept, *new]
        settings = _settings(settings, gone, new)
    _write_json(folder / "tokenizer.json", tokenizer)
    _write_json(folder / "tokenizer_config.json", settings)


def _settings(
    settings: Mapping[str, Any], gone: set[str], new: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """tokenizer_config.json without the tokens that are gone, and with new ones."""
    kept = {key: value for key, value in settings.items() if value not in list(gone)}
    if "additional_special_tokens" in kept:
        names = [name for name in kept["additional_special_tokens"] if name not in gone]
        kept["additional_special_tokens"] = names
    if "added_tokens_decoder" in kept:
        decoder = {
            number: token
            for number, token in kept["added_tokens_decoder"].items()
            if token["content"] not in gone
        }
        decoder |= {
            str(token["id"]): {key: value for key, value in token.items() if key != "id"}
            for token in new
        }
        kept["added_tokens_decoder"] = decoder
    extra = {f"{token['content'].strip('<>')}_token": token["content"] for token in new}
    if extra:
        kept["extra_special_tokens"] = extra
    elif gone:
        kept.pop("extra_special_tokens", None)
        if "pad_token" in settings and "pad_token" not in kept:
            kept["pad_token"] = kept["unk_token"]  # as Vicuna has it
    return kept


def _write_json(path: Path, value: Any) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False)
    path.write_text(f"{text}\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the stand-ins that the command line names, and keeps existing folders."""
    parser = argparse.ArgumentParser(
        prog="python -m xstilts.miniature.stand_ins",
        description=(
            "Write stand-ins of published models: real tokenizers, image processing and positions, "
            "small widths, random weights."
        ),
    )
    parser.add_argument("dir", type=Path, metavar="DIR", help="folder to write to")
    parser.add_argument(
        "--tokenizers",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder with the real tokenizers",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=available(),
        metavar="HUB",
        help=f"any of: {', '.join(available())}",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the weights; default: 0")
    chosen = parser.parse_args(arguments)
    for hub in chosen.only or available():
        folder = chosen.dir / hub
        if not folder.is_dir():
            with new_folder(folder) as part:
                write_stand_in(hub, part, chosen.tokenizers, chosen.seed)
            print(folder, flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
