"""Writes the miniature: every data set in the hub's own layout and schema, the same bytes for the same seed."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from xstilts.data.miniature import rows
from xstilts.data.miniature.languages import LANGUAGES, Language
from xstilts.data.miniature.schemas import DATA_SETS, DataSet, arrow_type, card_feature, hub_feature
from xstilts.errors import PlanError


@dataclass(frozen=True)
class Sizes:
    """Rows per split. text: documents per language; train: of each text set; select: of each English dev split;
    test: of each test set and language; pictures: of each image set's train split."""

    text: int = 4000
    train: int = 4000
    select: int = 200
    test: int = 200
    pictures: int = 2000


@dataclass(frozen=True)
class _Split:
    """One parquet file to be: data set, config, split, the language it is told in, how many rows and what makes them.
    `scenes` names the stream of scenes: splits of one name are parallel."""

    path: str
    config: str
    split: str
    language: Language
    count: int
    make: rows.Rows
    scenes: str


def write_miniature(
    folder: Path, seed: int = 0, languages: Sequence[str] = tuple(LANGUAGES), sizes: Sizes | None = None
) -> None:
    """Writes the miniature into a folder as `<org>/<name>/<config>/<split>-00000-of-00001.parquet` with a README.md per
    data set. English is always written. Raises PlanError for a language that the miniature does not have."""
    if unknown := [code for code in languages if code not in LANGUAGES]:
        raise PlanError(f"miniature: no such language {', '.join(unknown)}; it has {', '.join(LANGUAGES)}")
    codes = ["en", *(code for code in languages if code != "en")]
    spoken = [LANGUAGES[code] for code in codes]
    written: dict[str, dict[str, list[tuple[str, int, int]]]] = {}
    for split in _splits(spoken, sizes or Sizes()):
        rng = Random(f"{seed}:{split.scenes}")
        made = split.make(rng, split.language, split.count, split.split)
        _write(folder, written, split.path, split.config, split.split, made)
    for path, configs in written.items():
        (folder / path / "README.md").write_text(_card(DATA_SETS[path], configs, codes), encoding="utf-8")


def _splits(spoken: Sequence[Language], sizes: Sizes) -> Iterable[_Split]:
    english, *foreign = spoken

    def english_set(path: str, config: str, make: rows.Rows, **counts: int) -> Iterable[_Split]:
        for split, count in counts.items():
            yield _Split(path, config, split, english, count, make, f"{path}:{split}")

    def everywhere(path: str, config: str, split: str, make: rows.Rows, names: Iterable[str] | None = None) -> Any:
        for language, name in zip(spoken, names or [language.code for language in spoken], strict=True):
            yield _Split(path, config.format(name), split, language, sizes.test, make, f"{path}:{split}")

    small = min(400, sizes.train)
    train_and_select = {"train": sizes.train, "validation": sizes.select}
    three = {**train_and_select, "test": sizes.test}
    pictures = {"train": sizes.pictures, "validation": sizes.select, "test": sizes.test}
    snli, squad = rows.inference(2), rows.questions((2, 3), 1, titled=True)
    yield from english_set("tau/commonsense_qa", "default", rows.common_sense, **train_and_select)
    yield from english_set("stanfordnlp/snli", "plain_text", snli, **three)
    yield from english_set("rajpurkar/squad", "plain_text", squad, **train_and_select)
    for number, facts in ((1, 2), (2, 3), (3, 3)):
        hard, counts = rows.adversarial(facts), {f"train_r{number}": sizes.train // 3, f"dev_r{number}": sizes.select}
        yield from english_set("facebook/anli", "plain_text", hard, **counts)
    yield from english_set("jxie/coco_captions", "default", rows.captions, **pictures)
    yield from english_set("lil-lab/nlvr", "default", rows.statements_on_pictures, **pictures)
    mnli = {"train": sizes.train, "validation_matched": sizes.select, "validation_mismatched": sizes.select}
    yield from english_set("nyu-mll/glue", "mnli", rows.glue, **mnli)
    yield from english_set("allenai/social_i_qa", "default", rows.social, **train_and_select)
    yield from english_set("aps/super_glue", "copa", rows.copa, train=small, validation=min(100, sizes.select))
    yield from english_set(
        "google/xtreme", "udpos.English", rows.parts_of_speech, train=sizes.train, validation=sizes.select
    )
    yield from everywhere("google/xtreme", "udpos.{}", "test", rows.parts_of_speech, [one.config for one in spoken])
    yield from english_set("unimelb-nlp/wikiann", "en", rows.entities, **train_and_select)
    yield from everywhere("unimelb-nlp/wikiann", "{}", "test", rows.entities)
    for split in ("validation", "test"):
        yield from everywhere("facebook/xnli", "{}", split, rows.inference(2))
        yield from everywhere("cambridgeltl/xcopa", "{}", split, rows.xcopa)
    yield from everywhere("google/xquad", "xquad.{}", "validation", rows.questions((2, 3), 2, titled=False))
    for language in foreign:
        for path, config, split, make in (
            ("google/xtreme", f"tatoeba.{language.code}", "validation", rows.translations(english)),
            ("mteb/tatoeba-bitext-mining", f"{language.code}-eng", "test", rows.bitext(english)),
        ):
            yield _Split(path, config, split, language, sizes.test, make, "tatoeba")
    for language in spoken:
        prose = rows.plain_text(english)
        scenes = f"text:{language.code}"  # not parallel: monolingual text in the wild is not either
        yield _Split("xstilts/miniature-text", language.code, "train", language, sizes.text, prose, scenes)


def _write(folder: Path, written: dict[str, Any], path: str, config: str, split: str, made: Iterable[rows.Row]) -> None:
    columns = DATA_SETS[path].columns_of(config)
    features = {"info": {"features": {name: hub_feature(kind) for name, kind in columns.items()}}}
    fields = [pa.field(name, arrow_type(kind)) for name, kind in columns.items()]
    schema = pa.schema(fields, {"huggingface": json.dumps(features)})
    table = pa.Table.from_pylist(list(made), schema=schema)
    file = folder / path / config / f"{split}-00000-of-00001.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file, compression="zstd")
    written.setdefault(path, {}).setdefault(config, []).append((split, table.nbytes, table.num_rows))


def _card(data_set: DataSet, configs: dict[str, list[tuple[str, int, int]]], codes: Sequence[str]) -> str:
    info = [
        {
            "config_name": config,
            "features": [card_feature(name, kind) for name, kind in data_set.columns_of(config).items()],
            "splits": [{"name": s, "num_bytes": size, "num_examples": count} for s, size, count in splits],
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
        "language": list(codes), "license": ["cc0-1.0"], "pretty_name": f"{data_set.title} (xstilts miniature)",
        "dataset_info": info, "configs": files,
    }  # fmt: skip
    text = yaml.safe_dump(front, sort_keys=False, allow_unicode=True)
    title = f"{data_set.title}, as the xstilts miniature has it"
    return f"---\n{text}---\n\n# {title}\n\nGenerated: a small invented world in the schema of `{data_set.path}`.\n"
