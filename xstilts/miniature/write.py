"""Writes the miniature: data sets in the layout and schema of the hub, with the same bytes for the
same seed.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from xstilts.errors import PlanError
from xstilts.miniature import rows
from xstilts.miniature.data_sets import DATA_SETS
from xstilts.miniature.invented_languages import LANGUAGES
from xstilts.miniature.real_sizes import FEW, with_real_sizes
from xstilts.miniature.schemas import DataSet, arrow_type, card_feature, hub_feature
from xstilts.miniature.splits import Sizes, splits
from xstilts.tasks.registry import TASKS


def write_miniature(
    folder: Path,
    seed: int = 0,
    languages: Sequence[str] = tuple(LANGUAGES),
    sizes: Sizes | None = None,
    pictures: Literal["small", "real"] = "small",
) -> None:
    """Writes `<org>/<name>/<config>/<split>-00000-of-00001.parquet` and a README.md per data set.

    PlanError for an unknown language.

    Args:
        folder: to write to.
        seed: of all rows.
        languages: codes; English is always included.
        sizes: rows per split; None: the defaults, and few of them with real pictures.
        pictures: `real`: pictures and texts of real sizes.
    """
    if unknown := [code for code in languages if code not in LANGUAGES]:
        raise PlanError(
            f"miniature: unknown language {', '.join(unknown)}; allowed: {', '.join(LANGUAGES)}"
        )
    codes = ["en", *(code for code in languages if code != "en")]
    spoken = [LANGUAGES[code] for code in codes]
    written: dict[str, dict[str, list[tuple[str, int, int]]]] = {}
    captions_of: dict[tuple[str, str], dict[str, str]] = {}
    image_tasks = _image_tasks()
    for split in splits(spoken, sizes or (FEW if pictures == "real" else Sizes())):
        scenes = f"{seed}:{split.scenes}"
        made: Iterable[rows.Row] = split.make(
            Random(scenes), split.language, split.count, split.split
        )
        if pictures == "real":
            made = with_real_sizes(made, split.path, split.config, scenes, split.language)
        if tasks := image_tasks.get((split.path, split.config, split.split)):
            made = list(made)
            captions = {
                hashlib.sha256(image["bytes"]).hexdigest(): image["caption"]
                for row in made
                for image in _images(row)
            }
            for task_and_role in tasks:
                captions_of.setdefault(task_and_role, {}).update(captions)
        if split.path == "bucc2018":
            _write_pool(
                folder / split.path / str(split.config), f"{split.config}.{split.split}", list(made)
            )
        elif split.config is None:
            _write_raw(folder / split.path / f"{split.split}.json", made)
        else:
            _write(folder, written, split.path, split.config, split.split, made)
    for (task, role), captions in captions_of.items():
        file = folder / "captions" / task / f"{role}-00000-of-00001.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        table = pa.table({"sha256": list(captions), "caption": list(captions.values())})
        pq.write_table(table, file, compression="zstd")
    for path, configs in written.items():
        (folder / path / "README.md").write_text(
            _card(DATA_SETS[path], configs, codes), encoding="utf-8"
        )


def _image_tasks() -> dict[tuple[str, str | None, str], list[tuple[str, str]]]:
    """(data set, config, split) with images → the (task, role) pairs that use them and have no
    captions of their own.
    """
    by_split: dict[tuple[str, str | None, str], list[tuple[str, str]]] = {}
    for task in TASKS.values():
        for role, source in task.splits.items():
            if task.modality == "image" and not task.captioned:
                images = source.pictures or source
                key = (images.path, images.config, images.split)
                by_split.setdefault(key, []).append((task.name, role))
    return by_split


def _images(row: rows.Row) -> list[rows.Row]:
    """The images of a row, from a column with one image or with several."""
    return [*([row["image"]] if row.get("image") else []), *(row.get("images") or [])]


def _write_raw(file: Path, made: Iterable[rows.Row]) -> None:
    """A file in the JSON format of SQuAD, for a set that is not on the hub (LAReQA)."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(
        json.dumps({"version": "1.1", "data": list(made)}, ensure_ascii=False), encoding="utf-8"
    )


def _write_pool(folder: Path, name: str, made: Sequence[rows.Row]) -> None:
    """`<name>.<side>` with an id and a sentence per line, and `<name>.gold` with a pair of ids per
    line, as in BUCC's archives.
    """
    folder.mkdir(parents=True, exist_ok=True)
    foreign = made[0]["side"]
    pairs: dict[int, dict[str, str]] = {}
    for side in (foreign, "en"):
        of_side = [row for row in made if row["side"] == side]
        pairs = pairs | {
            row["pair"]: {**pairs.get(row["pair"], {}), side: row["id"]}
            for row in of_side
            if row["pair"] >= 0
        }
        text = "".join(f"{row['id']}\t{row['text']}\n" for row in of_side)
        (folder / f"{name}.{side}").write_text(text, encoding="utf-8")
    gold = "".join(f"{pair[foreign]}\t{pair['en']}\n" for pair in pairs.values())
    (folder / f"{name}.gold").write_text(gold, encoding="utf-8")


def _write(
    folder: Path,
    written: dict[str, Any],
    path: str,
    config: str,
    split: str,
    made: Iterable[rows.Row],
) -> None:
    columns = DATA_SETS[path].columns_of(config)
    features = {"info": {"features": {name: hub_feature(kind) for name, kind in columns.items()}}}
    fields = [pa.field(name, arrow_type(kind)) for name, kind in columns.items()]
    schema = pa.schema(fields, {"huggingface": json.dumps(features)})
    table = pa.Table.from_pylist(list(made), schema=schema)
    file = folder / path / config / f"{split}-00000-of-00001.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file, compression="zstd")
    written.setdefault(path, {}).setdefault(config, []).append(
        (split, table.nbytes, table.num_rows)
    )


def _card(
    data_set: DataSet, configs: dict[str, list[tuple[str, int, int]]], codes: Sequence[str]
) -> str:
    info = [
        {
            "config_name": config,
            "features": [
                card_feature(name, kind) for name, kind in data_set.columns_of(config).items()
            ],
            "splits": [
                {"name": s, "num_bytes": size, "num_examples": count} for s, size, count in splits
            ],
            "download_size": sum(size for _, size, _ in splits),
            "dataset_size": sum(size for _, size, _ in splits),
        }
        for config, splits in configs.items()
    ]
    files = [
        {
            "config_name": config,
            "data_files": [{"split": s, "path": f"{config}/{s}-*"} for s, _, _ in splits],
            **({"default": True} if len(configs) == 1 else {}),
        }
        for config, splits in configs.items()
    ]
    front = {
        "language": list(codes),
        "license": ["cc0-1.0"],
        "pretty_name": f"{data_set.title} (xstilts miniature)",
        "dataset_info": info,
        "configs": files,
    }
    text = yaml.safe_dump(front, sort_keys=False, allow_unicode=True)
    title = f"{data_set.title}, as the xstilts miniature has it"
    about = f"Generated: a small invented world in the schema of `{data_set.path}`."
    return f"---\n{text}---\n\n# {title}\n\n{about}\n"
