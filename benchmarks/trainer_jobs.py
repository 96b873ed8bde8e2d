"""What ms-swift and LLaMA-Factory get as alternatives of `python -m benchmarks.training`: rows,
tokenizer and arguments.

Sources of the settings, as installed with ms-swift 4.6.0 and LLaMA-Factory 0.9.5:

- `swift/arguments/sft_args.py:_check_padding_free`: `packing` and `padding_free` raise without a
  FlashAttention implementation, so rows are only grouped by length.
- `swift/pipelines/train/sft.py:_post_process_datasets`: rows of a cached data set are tokenized in
  the training loop, except with `truncation_strategy split`, which takes them as token ids.
- `llamafactory/data/collator.py:prepare_4d_attention_mask`: `neat_packing` keeps the rows of a pack
  apart with any attention; `packing` alone does not, which is another training.
- `llamafactory/data/loader.py:get_dataset`: `tokenized_path` is a data set of token ids.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tokenizers
import transformers as tf

from benchmarks.training_cases import CLASSES, END, PAD, START, VOCABULARY, Case, Row
from xstilts.training.loop import TrainingSettings


@dataclass(frozen=True)
class Peer:
    """A trainer.

    Attributes:
        module: The module that it installs.
        package: The name of its package.
        packed: Whether the rows of an update are one row, which its options keep apart.
        about: What distinguishes it in tables.
        lacks: Format → why it is not driven for such a case.
    """

    module: str
    package: str
    packed: bool
    about: str
    lacks: Mapping[str, str]


def tokenizer() -> Any:
    """A tokenizer whose words are the token ids: both trainers want one in the model's folder."""
    special = {START: "<s>", PAD: "<pad>", END: "</s>"}
    words = {special.get(number, str(number)): number for number in range(VOCABULARY)}
    whole = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token=special[PAD]))
    whole.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    return tf.PreTrainedTokenizerFast(
        tokenizer_object=whole, bos_token=special[START], pad_token=special[PAD],
        eos_token=special[END], unk_token=special[PAD],
    )  # fmt: skip


def job_of(
    case: Case, peer: Peer, rows: Sequence[Row], seed: int, folder: Path, cuda: bool
) -> dict[str, Any]:
    """What `benchmarks/trainer_process.py` reads."""
    examples = packs(case, rows, seed) if peer.packed else [example(case, row) for row in rows]
    return {
        "module": peer.module, "arguments": arguments(case, peer, seed, folder, cuda),
        "rows": examples, "data": str(folder / "data"), "saved": str(folder / "saved"),
        "result": str(folder / "result.json"),
    }  # fmt: skip


def example(case: Case, row: Row) -> dict[str, Any]:
    """A row as ms-swift caches it."""
    size = len(row.ids)
    labels = row.label if case.format == "classification" else row.labels
    return {"input_ids": row.ids, "labels": labels, "length": size, "lengths": [size]}


def packs(case: Case, rows: Sequence[Row], seed: int) -> list[dict[str, Any]]:
    """The rows of each update as one row, in an order drawn from the seed, as
    `llamafactory/data/processor/supervised.py:PackedSupervisedDatasetProcessor` writes packs: the
    mask has the number of the row in the pack. Padded to a multiple of 8, as its collator wants.
    """
    order = random.Random(seed).sample([*rows], len(rows))
    return [_pack(order[first : first + case.batch]) for first in range(0, len(order), case.batch)]


def _pack(rows: Sequence[Row]) -> dict[str, Any]:
    padding = -sum(len(row.ids) for row in rows) % 8
    return {
        "input_ids": [token for row in rows for token in row.ids] + [PAD] * padding,
        "labels": [label for row in rows for label in row.labels] + [-100] * padding,
        "attention_mask": [n for n, row in enumerate(rows, 1) for _ in row.ids] + [0] * padding,
        "position_ids": [at for row in rows for at in range(len(row.ids))] + [0] * padding,
    }


def arguments(case: Case, peer: Peer, seed: int, folder: Path, cuda: bool) -> dict[str, Any]:
    """The trainer's arguments: as of `peers_transformers.arguments`, with its fastest options."""
    both = {
        "output_dir": str(folder / "out"), "num_train_epochs": 1, "learning_rate": case.lr,
        "per_device_train_batch_size": 1 if peer.packed else case.batch,
        "gradient_accumulation_steps": 1, "lr_scheduler_type": "linear",
        "warmup_steps": int(TrainingSettings.warmup * case.updates), "weight_decay": 0.0,
        "max_grad_norm": 1.0, "adam_beta1": 0.9, "adam_beta2": 0.999, "adam_epsilon": 1e-8,
        "optim": "adamw_torch_fused", "seed": seed, "bf16": cuda, "report_to": "none",
        "logging_strategy": "no", "save_strategy": "no", "eval_strategy": "no",
        "disable_tqdm": True, "dataloader_num_workers": 2 if cuda else 0,
    }  # fmt: skip
    if peer.module == "swift":
        lm = case.objective == "lm"
        task = {"task_type": "causal_lm"} if lm else {"task_type": "seq_cls", "num_labels": CLASSES}
        return both | task | {
            "model": str(folder / "model"), "model_type": "llama" if lm else "bert",
            "template": "dummy", "tuner_type": "full", "torch_dtype": "float32",
            "attn_impl": "sdpa", "use_hf": True, "check_model": False,
            "gradient_checkpointing": False, "group_by_length": True, "data_seed": seed,
            "cached_dataset": str(folder / "data"), "truncation_strategy": "split",
            "logging_first_step": False,
        }  # fmt: skip
    return both | {
        "model_name_or_path": str(folder / "model"), "stage": "sft", "finetuning_type": "full",
        "do_train": True, "flash_attn": "sdpa", "disable_gradient_checkpointing": True,
        "dataset": "rows", "tokenized_path": str(folder / "data"), "template": "empty",
        "neat_packing": True, "disable_shuffling": True, "overwrite_output_dir": True,
    }  # fmt: skip
