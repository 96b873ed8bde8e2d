"""plans/modality-geometry.yaml: what its arms train on, with the real tokenizers, image processing
and positions of the published models, and pictures and texts of real sizes.

Every encoded row of every arm and image condition is read back: its tokens are decoded and compared
with texts that are built here from the records, and its image tokens with those of transformers'
own processor.
"""

import dataclasses
import io
import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import transformers as tf
import yaml
from PIL import Image

from tests.e2e.runs import command, results
from xstilts.errors import DataError
from xstilts.miniature.stand_ins import write_stand_in
from xstilts.miniature.write import write_miniature
from xstilts.models.families import contract
from xstilts.models.processor import load_processor
from xstilts.models.qwen_vl import image_only
from xstilts.runs import actions
from xstilts.runs.folder import create
from xstilts.store.manifest import Manifest
from xstilts.store.server import serve
from xstilts.store.store import Store
from xstilts.tasks.registry import TASKS

pytestmark = pytest.mark.e2e

PLAN = Path(__file__).parents[2] / "pipelines" / "plans" / "modality-geometry.yaml"
#: One model of each kind of geometry, besides those of the plan.
MORE = {
    "llava-interleave": ("llava-hf/llava-interleave-qwen-0.5b-hf", "llava"),
    "llava-1.6": ("llava-hf/llava-v1.6-vicuna-7b-hf", "llava_next"),
    "onevision": ("llava-hf/llava-onevision-qwen2-0.5b-ov-hf", "llava_onevision"),
    "qwen3-vl": ("Qwen/Qwen3-VL-2B-Instruct", "qwen3_vl"),
}
#: Two pictures of LLaVA-1.6 do not fit the 4,096 positions of Vicuna.
SMALLER = {"nlvr2": {"image_tokens": 1700}}
STOCK: Mapping[str, Any] = {
    "llava": tf.LlavaProcessor,
    "llava_next": tf.LlavaNextProcessor,
    "llava_onevision": image_only(tf.LlavaOnevisionProcessor),
    "qwen2_5_vl": image_only(tf.Qwen2_5_VLProcessor),
    "qwen3_vl": image_only(tf.Qwen3VLProcessor),
}
SEEING = ("llava-1.5-7b", "qwen2.5-vl-7b", *MORE)
#: Those that train here: one of each kind, with one text-only twin for the contrasts between them.
TRAINED = ("llava-1.5-7b", "vicuna-7b", "qwen2.5-vl-7b", "xlm-r-large")
BACKBONES = (*SEEING, "vicuna-7b", "qwen2.5-7b", "xlm-r-large")


@dataclasses.dataclass(frozen=True)
class Encoded:
    """An encode step with its parent's records: spec, rows and info, and records with images."""

    spec: Mapping[str, Any]
    info: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    records: Sequence[Mapping[str, Any]]
    images: Mapping[str, bytes]


@dataclasses.dataclass(frozen=True)
class Staged:
    """The plan's arms, encoded. backbones: name → model folder and family."""

    backbones: Mapping[str, tuple[Path, str]]
    steps: Mapping[str, Sequence[Encoded]]


@pytest.fixture(scope="module")
def stand_ins(real_tokenizers: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stand-ins")
    plan = yaml.safe_load(PLAN.read_text())
    hubs = {path_of(backbone) for backbone in plan["backbones"].values()}
    for hub in sorted(hubs | {hub for hub, _ in MORE.values()}):
        write_stand_in(hub, folder / hub, real_tokenizers)
    return folder


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("real-sizes")
    write_miniature(folder, languages=["en"], pictures="real")
    return folder


def path_of(backbone: Mapping[str, Any]) -> str:
    """Hub id of the model that a backbone of the plan stands for."""
    return str(backbone["path"]).removeprefix(".xstilts/stand-ins/")


def derived(stand_ins: Path, more: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """The plan with stand-ins of a folder and further backbones. One evaluation: the arms do not
    depend on it.
    """
    plan = yaml.safe_load(PLAN.read_text())
    for backbone in plan["backbones"].values():
        backbone["path"] = str(stand_ins / path_of(backbone))
    plan["backbones"] |= more
    plan |= {"evaluations": ["xnli"], "languages": ["en"], **changes}
    del plan["controls"]
    plan["override"] = {"mnli": plan["override"]["mnli"]}
    return dict(plan)


def staged(plan: Mapping[str, Any], mirror: Path, scratch: Path) -> Iterator[tuple[Store, Any]]:
    """Runs all staging steps of a plan in this process; yields the store and the expanded plan."""
    before = dict(os.environ)
    try:
        with serve(scratch / "s3") as server:
            os.environ.update(server.env() | {"XSTILTS_CACHE": str(scratch / "cache")})
            store = Store.open("s3://xstilts/store", cache=scratch / "cache")
            create(store, "run", yaml.safe_dump(dict(plan), sort_keys=False), str(mirror))
            uri = f"{store.uri}/runs/run"
            actions.plan(uri)
            ids = store.get_json("runs/run/work.json")
            assert ids is not None
            for kind in ("sources", "builds", "encodings"):
                for batch in ids[kind]:
                    actions.stage(uri, batch)
            yield store, store.get_json("runs/run/expanded.json")
    finally:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture(scope="module")
def arms(stand_ins: Path, mirror: Path, tmp_path_factory: pytest.TempPathFactory) -> Staged:
    more: dict[str, Any] = {
        name: {"path": str(stand_ins / hub), "family": family, "tuning": "lora"}
        for name, (hub, family) in MORE.items()
    }
    more["llava-1.6"]["override"] = SMALLER
    plan = derived(stand_ins, more)
    backbones = {
        name: (Path(backbone["path"]), backbone["family"])
        for name, backbone in plan["backbones"].items()
    }
    steps: dict[str, list[Encoded]] = {name: [] for name in backbones}
    for store, document in staged(plan, mirror, tmp_path_factory.mktemp("run")):
        for fingerprint, step in document["steps"].items():
            if step["kind"] == "encode" and step["spec"]["objective"] == "lm":
                read = encoded(store, fingerprint, step)
                for name, (folder, _) in backbones.items():
                    if step["spec"]["processor"]["path"] == str(folder):
                        steps[name].append(read)
    return Staged(backbones, steps)


def encoded(store: Store, fingerprint: str, step: Mapping[str, Any]) -> Encoded:
    own = store.manifest("encode", fingerprint)
    records = store.manifest("records", step["parents"]["records"])
    assert own is not None
    assert records is not None

    def rows(manifest: Manifest, name: str) -> list[dict[str, Any]]:
        if name not in manifest.files:
            return []
        return list(pq.read_table(store.file(manifest, name)).to_pylist())

    images = {row["sha256"]: row["bytes"] for row in rows(records, "images.parquet")}
    return Encoded(
        step["spec"],
        own.info,
        rows(own, "encoded.parquet"),
        rows(records, "records.parquet"),
        images,
    )


def in_words(task: str, record: Mapping[str, Any]) -> tuple[list[tuple[str, bool]], str, str]:
    """(texts, each with whether it may be cut; instruction; answer) of a record of a task."""
    of = TASKS[task]
    text, pair, question = record["text"], record["text_pair"], record["question"]
    instruction = of.instruction
    if of.format == "classification":
        texts, answer = [(text, True), (pair, True)], of.verbalised[record["label"]]
    elif of.format == "multiple_choice":
        texts, answer = (
            [(text, question is not None), (question, False)],
            record["choices"][record["label"]],
        )
        options = [f"({'ABCDEFGH'[at]}) {one}" for at, one in enumerate(record["choices"])]
        instruction = " ".join([*options, instruction])
    elif of.format == "span":
        texts, answer = [(question, False), (text, True)], record["answers"][0]["text"]
    else:
        assert of.format == "generation"
        texts = [(text, question is not None), (question, False)]
        answer = record["targets"][0]
    texts = [(one, may_be_cut) for one, may_be_cut in texts if one]
    return texts, instruction if texts else "", answer


def letters(text: str) -> str:
    return "".join(text.split())


def test_the_plan_has_the_arms_contrasts_and_recipes_of_modality() -> None:
    plan, modality = (
        yaml.safe_load(PLAN.with_name(f"{name}.yaml").read_text())
        for name in ("modality-geometry", "modality")
    )
    for key in ("arms", "contrasts", "headline", "evaluations", "controls", "recipes"):
        assert plan[key] == modality[key], key
    stood_for = {
        name: {**backbone, "hub": path_of(backbone)} for name, backbone in plan["backbones"].items()
    }
    for name, backbone in modality["backbones"].items():
        assert {key: stood_for[name][key] for key in ("hub", "family", "tuning")} == {
            key: backbone[key] for key in ("hub", "family", "tuning")
        }


@pytest.mark.parametrize("name", BACKBONES)
def test_every_row_holds_its_whole_texts_and_answer(arms: Staged, name: str) -> None:
    folder, family = arms.backbones[name]
    config = tf.AutoConfig.from_pretrained(folder)
    tokenizer = tf.AutoTokenizer.from_pretrained(folder)
    encoder = family == "xlm_r"
    positions = config.get_text_config().max_position_embeddings - (2 if encoder else 0)
    image = getattr(config, "image_token_id", None)
    assert len(arms.steps[name]) >= (10 if image is None else 19)
    for step in arms.steps[name]:
        task, cut = step.spec["task"], 0
        read: dict[int, list[tuple[list[int], list[int]]]] = {}
        assert step.info["bad_rows"] == 0, step.info["bad"]
        for row in step.rows:
            (ids,), labels = row["segments"], row["labels"]
            assert len(ids) <= positions
            read.setdefault(row["row"], []).append((ids, labels))
        assert set(read) == set(range(len(step.records)))  # no record is lost
        for index, record in enumerate(step.records):
            texts, instruction, answer = in_words(task, record)
            if not texts and (encoder or not record["images"]):  # plain text, in windows
                tokens = [
                    token if label == -100 else label
                    for ids, labels in read[index]
                    for token, label in zip(ids, labels, strict=True)
                    if encoder or label != -100
                ]
                plain = tokenizer.decode(tokens, skip_special_tokens=True)
                assert letters(plain) == letters(answer), (task, record["id"])
                continue
            ((ids, labels),) = read[index]
            trained = [label for label in labels if label != -100]
            first = next(at for at, label in enumerate(labels) if label != -100)
            asked = ids[:first] if encoder else ids[: first + 1]
            kept = [token for token in asked if token != image]
            prompt = letters(tokenizer.decode(kept, skip_special_tokens=True))
            assert letters(tokenizer.decode(trained, skip_special_tokens=True)) == letters(answer)
            if not encoder:
                assert trained[-1] == tokenizer.eos_token_id
                assert ids[first + 1 :] == trained[:-1]
            whole = letters("".join(text for text, _ in texts) + instruction)
            if prompt != whole:
                cut += 1
                assert prompt.endswith(letters(instruction)), (task, record["id"])
                for text, may_be_cut in texts:
                    assert may_be_cut or letters(text) in prompt, (task, record["id"])
        assert cut == step.info["truncated"], task


@pytest.mark.parametrize("name", SEEING)
def test_every_image_has_as_many_tokens_as_the_stock_processor_gives_it(
    arms: Staged, name: str
) -> None:
    folder, family = arms.backbones[name]
    ours = load_processor(folder, family)
    vision = ours.contract.vision
    assert vision is not None
    placeholder = vision.before + vision.token + vision.after
    stock = STOCK[family].from_pretrained(folder, backbone="pil")
    seen: dict[Any, int] = {}
    shown = scaled = 0
    for step in arms.steps[name]:
        budget = step.spec.get("image_budget") or {}
        if budget and family.startswith("qwen"):
            sizes = {"shortest_edge": budget["min_pixels"], "longest_edge": budget["max_pixels"]}
            stock.image_processor.size = sizes
        for row in step.rows:
            record = step.records[row["row"]]
            assert row["images"] == record["images"]
            count = sum(token == ours.image_token_id for token in row["segments"][0])
            pictures = []
            for sha, grid in zip(row["images"], row["grids"] or row["images"], strict=True):
                picture = Image.open(io.BytesIO(step.images[sha])).convert("RGB")
                if family in ("llava_next", "llava_onevision") and picture.size != (
                    grid[1],
                    grid[0],
                ):
                    picture = picture.resize((grid[1], grid[0]))
                    scaled += 1
                pictures.append(picture)
            # The number follows from the sizes alone; the stock processor makes pixels, too.
            key = (*(picture.size for picture in pictures), str(budget))
            if pictures and key not in seen:
                nested = [pictures] if family == "llava_onevision" else pictures
                made = stock(text=[placeholder * len(pictures)], images=nested)
                seen[key] = made["input_ids"][0].count(ours.image_token_id)
            assert count == (seen[key] if pictures else 0)
            shown += bool(pictures)
    assert shown >= 200
    assert bool(scaled) == (name == "llava-1.6")
    assert len(set(seen.values())) > (3 if family not in ("llava",) else 0)


@pytest.mark.parametrize("name", SEEING)
def test_pixels_fill_the_tokens_of_their_rows(arms: Staged, name: str) -> None:
    """Training prepares pixels with the settings of the model folder and the grid of the row."""
    folder, family = arms.backbones[name]
    ours = load_processor(folder, family)
    step = next(
        step
        for step in arms.steps[name]
        if step.spec["task"] == "nlvr2" and any(row["images"] for row in step.rows)
    )
    for row in step.rows[:8]:
        grids = row["grids"] or [()] * len(row["images"])
        made = [
            ours.image_inputs(step.images[sha], grid)
            for sha, grid in zip(row["images"], grids, strict=True)
        ]
        tokens = sum(token == ours.image_token_id for token in row["segments"][0])
        assert sum(one.tokens for one in made) == tokens


def test_all_arms_run_from_staging_to_the_report(
    stand_ins: Path, mirror: Path, tmp_path: Path
) -> None:
    """Two updates for each arm, one for its target, one evaluation."""
    plan = derived(stand_ins, {})
    plan["backbones"] = {name: plan["backbones"][name] for name in TRAINED}
    plan["contrasts"] = {
        name: contrast
        for name, contrast in plan["contrasts"].items()
        if contrast.get("reference_backbone", TRAINED[0]) in TRAINED
    }
    file = tmp_path / "geometry.yaml"
    file.write_text(yaml.safe_dump(plan, sort_keys=False))
    arguments = [*command(tmp_path, file), "--mirror", str(mirror)]
    subprocess.run(arguments, check=True, cwd=PLAN.parents[2])
    report = tmp_path / "out" / "report"
    summary = json.loads((report / "summary.json").read_text())
    assert summary["missing"] == []
    assert (report / "report.html").is_file()
    scored = results(tmp_path)[["backbone", "arm"]].drop_duplicates()
    for name, backbone in plan["backbones"].items():
        arms = {
            arm
            for arm, of in plan["arms"].items()
            if contract(backbone["family"]).vision or not sees(of)
        }
        assert set(scored.arm[scored.backbone == name]) == arms | {"none"}


def sees(arm: Mapping[str, Any]) -> bool:
    """Whether an arm shows images."""
    if arm.get("images") in ("removed", "caption"):
        return False
    parts = arm.get("mixture") or [arm]
    return any(TASKS[part["task"]].modality == "image" for part in parts)


def test_pictures_that_do_not_fit_the_positions_are_refused_with_the_remedy(
    stand_ins: Path, mirror: Path, tmp_path: Path
) -> None:
    hub, family = MORE["llava-1.6"]
    plan = derived(stand_ins, {}, arms={"nlvr2": {"task": "nlvr2", "objective": "lm"}})
    plan["backbones"] = {"llava-1.6": {"path": str(stand_ins / hub), "family": family}}
    plan |= {"contrasts": {}, "rows": {"train": 8, "select": 4, "test": 4}}
    del plan["headline"]
    message = "are more than the 4096 positions of the backbone; set image_tokens under `override`"
    with pytest.raises(DataError, match=message):
        next(staged(plan, mirror, tmp_path))
