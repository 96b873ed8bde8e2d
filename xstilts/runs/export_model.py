"""Writes the model of a cell as a folder that transformers and peft load, with a model card.

`full`: a transformers model. `lora`: a peft adapter; the base model of one that the run built is in
the folder `base` beside it. The heads of the last training are in `head.<task>.safetensors`.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xstilts.errors import DataError, PlanError
from xstilts.models.contract import Contract
from xstilts.models.families import contract
from xstilts.new_files import new_folder, refuse_used
from xstilts.runs.folder import expanded_of
from xstilts.runs.stage import model_folder
from xstilts.runs.stored_report import has_report, summary_of
from xstilts.step import Step
from xstilts.store.manifest import Manifest
from xstilts.store.store import Store

#: Ends of files with weights, which a full model replaces.
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".index.json", ".msgpack", ".h5")


@dataclass(frozen=True)
class ExportedModel:
    """kind: `adapter` or `model`. base: what the adapter is loaded onto."""

    folder: Path
    kind: str
    base: str


def export_model(store: Store, run: str, cell_id: str, folder: Path) -> ExportedModel:
    """Writes the model of a cell. The folder appears once the model is complete.

    Raises:
        PlanError: the run has no such cell, the cell trains nothing, or `folder` cannot be created.
        DataError: the cell's training is not finished.
    """
    expanded = expanded_of(store, run)
    cell = _cell(expanded, run, cell_id)
    manifest = store.manifest("finetune", cell["chain"][-1])
    if manifest is None:
        raise DataError(f"{run}: the training of {cell_id} is not finished; see `xstilts status`")
    refuse_used(folder)
    step = Step.from_json(manifest.step)
    of = contract(step.spec["family"])
    if of.lora_parameters and step.spec["tuning"]["mode"] == "lora":
        raise PlanError(
            f"{cell_id}: adapters of the experts of family {of.family} have a layout that peft "
            "does not load; only models of `tuning: full` can be exported"
        )
    with (
        new_folder(folder) as part,
        tempfile.TemporaryDirectory(prefix="xstilts-") as scratch,
    ):
        base_folder = model_folder(step, store, Path(scratch))
        if step.spec["tuning"]["mode"] == "lora":
            built = "backbone" in step.parents
            if built:
                shutil.copytree(base_folder, part / "base")  # follows links to the cache
            base = "base" if built else _origin(step)
            write_adapter(store.file(manifest, "trainable.safetensors"), of, step.spec, base, part)
            exported = ExportedModel(folder, "adapter", base)
        else:
            write_model(store.file(manifest, "trainable.safetensors"), of, base_folder, part)
            exported = ExportedModel(folder, "model", _origin(step))
        _write_heads(store, manifest, of, part)
        card = _card(store, run, expanded, cell, step, exported)
        (part / "README.md").write_text(card, encoding="utf-8")
        share(part)
    return exported


def share(folder: Path) -> None:
    """Gives all files the mode of new files: safetensors writes weights as 0600."""
    umask = os.umask(0)
    os.umask(umask)
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(0o666 & ~umask)


def _cell(expanded: Mapping[str, Any], run: str, cell_id: str) -> Mapping[str, Any]:
    import difflib

    cells = {cell["id"]: cell for cell in expanded["cells"]}
    if cell_id not in cells:
        trained = [name for name, cell in cells.items() if cell["chain"]]
        nearest = difflib.get_close_matches(cell_id, trained, n=3, cutoff=0.3)
        hint = f"; did you mean {' or '.join(nearest)}?" if nearest else ""
        raise PlanError(f"{run} has no cell {cell_id!r}{hint or ';'} --list shows its cells")
    if not cells[cell_id]["chain"]:
        raise PlanError(f"{cell_id}: this cell trains nothing; its model is the backbone itself")
    cell: Mapping[str, Any] = cells[cell_id]
    return cell


def _origin(step: Step) -> str:
    """The base model: hub id, local folder, or `built` for one that the run built."""
    identity = step.spec["backbone"]
    return "built" if isinstance(identity, str) else str(identity.get("hub") or identity["path"])


def _revision(step: Step) -> str | None:
    identity = step.spec["backbone"]
    return None if isinstance(identity, str) else identity.get("revision")


def write_adapter(
    weights: Path, of: Contract, spec: Mapping[str, Any], base: str, folder: Path
) -> None:
    """Writes a peft adapter.

    Args:
        weights: `trainable.safetensors` of a finetune step.
        of: the family.
        spec: of the step.
        base: hub id or folder of the base model; a relative one starts at the adapter's folder.
        folder: where to write.
    """
    from peft import LoraConfig
    from safetensors.torch import load_file, save_file

    state = {_peft_name(name): tensor for name, tensor in load_file(weights).items()}
    save_file(state, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    identity = spec["backbone"]
    LoraConfig(
        base_model_name_or_path=base,
        revision=None if isinstance(identity, str) else identity.get("revision"),
        r=spec["tuning"]["r"],
        lora_alpha=spec["tuning"]["alpha"],
        target_modules=of.lora,
        lora_dropout=0.0,
        bias="none",
        inference_mode=True,
    ).save_pretrained(str(folder))


def _peft_name(name: str) -> str:
    """`model.<module>.lora_A.default.weight` as peft's files name it."""
    return f"base_model.model.{name.removeprefix('model.').replace('.default.', '.')}"


def write_model(weights: Path, of: Contract, base: Path, folder: Path) -> None:
    """Writes a transformers model with trained weights, and the base's processor files."""
    import torch
    from safetensors.torch import load_file

    from xstilts.models.backbone import load_model

    model: Any = load_model(base, of, dtype=torch.float32)
    state = {name.removeprefix("model."): tensor for name, tensor in load_file(weights).items()}
    unexpected = model.load_state_dict(state, strict=False).unexpected_keys
    if unexpected:
        raise DataError(
            f"{base}: it has no weights {', '.join(unexpected[:3])}; not the base model"
        )
    for file in base.iterdir():
        if file.is_file() and file.name != "config.json" and not file.name.endswith(_WEIGHTS):
            shutil.copy(file, folder / file.name)
    model.save_pretrained(folder)


def _write_heads(store: Store, manifest: Manifest, of: Contract, folder: Path) -> None:
    """Copies the heads, and writes heads.json with what is needed to use them."""
    spec = manifest.step["spec"]
    names = [name for name in manifest.files if name.startswith("head.")]
    for name in names:
        shutil.copy(store.file(manifest, name), folder / name)
    from xstilts.tasks.registry import TASKS

    described = [
        {
            "task": task["name"],
            "format": task["format"],
            "objective": task["objective"],
            "labels": list(TASKS[task["name"]].labels) if task["name"] in TASKS else [],
        }
        for task in spec["tasks"]
    ]
    document = {
        "files": names,
        "tasks": described,
        "pooling": spec["recipe"].get("pooling", "pooled"),
        "pooled_token": of.pool,
        "attention": spec["attention"],
    }
    (folder / "heads.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


# ---- the model card ----


def _card(
    store: Store,
    run: str,
    expanded: Mapping[str, Any],
    cell: Mapping[str, Any],
    step: Step,
    exported: ExportedModel,
) -> str:
    base = _origin(step)
    data = list(_data(store, expanded, cell))
    licences = sorted({row["licence"] for row in data if row["licence"]})
    front = {
        "library_name": "peft" if exported.kind == "adapter" else "transformers",
        "tags": ["xstilts", "cross-lingual-transfer"],
        **({"base_model": base} if base != "built" else {}),
        "datasets": sorted({row["path"] for row in data}),
    }
    import yaml

    revision = f" at commit `{_revision(step)}`" if _revision(step) else ""
    built = " (a tiny model that the run built, in the folder `base`)" if base == "built" else ""
    seeds = ", ".join(
        f"{kind} seed {cell[key]}"
        for kind, key in (("intermediate", "seed_intermediate"), ("target", "seed_target"))
        if cell[key] is not None
    )
    lines = [
        "---",
        yaml.safe_dump(front, sort_keys=False, allow_unicode=True).rstrip(),
        "---",
        "",
        f"# {cell['id']}",
        "",
        f"Trained by xstilts in the run `{run}`: arm `{cell['arm']}`, then "
        f"`{cell['trained_target']}` in English ({seeds}).",
        "",
        f"- Base model: `{base}`{revision}{built}, family `{step.spec['family']}`",
        f"- Tuning: {json.dumps(step.spec['tuning'])}; attention: {step.spec['attention']}",
        f"- Fingerprint of the training: `{step.fingerprint}`",
        "",
        "## Load",
        "",
        "```python",
        *_loading(of=contract(step.spec["family"]), exported=exported),
        "```",
        "",
        "The heads are in `head.<task>.safetensors`; `heads.json` says what they read.",
        *(
            ["Text attention was bidirectional in training, which transformers does not restore."]
            if contract(step.spec["family"]).causal and step.spec["attention"] == "bidirectional"
            else []
        ),
        "",
        "## Training data",
        "",
        "| data set | config | split | version | licence |",
        "|---|---|---|---|---|",
        *(
            f"| {row['path']} | {row['config']} | {row['split']} | {row['version']} | "
            f"{row['licence'] or 'not stated'} |"
            for row in data
        ),
        "",
        "## Licence",
        "",
        f"The licence of the base model applies. The training data have: "
        f"{', '.join(licences) or 'no stated licence'}.",
        "",
        "## Scores",
        "",
        *_banner(store, run),
        *_scores(store, run, cell),
        "",
    ]
    return "\n".join(lines)


def _loading(of: Contract, exported: ExportedModel) -> Iterator[str]:
    if exported.kind == "model":
        yield f"from transformers import {of.model_class}"
        yield ""
        yield f'model = {of.model_class}.from_pretrained("FOLDER")'
        return
    base = "FOLDER/base" if exported.base == "base" else exported.base
    yield "from peft import PeftModel"
    yield f"from transformers import {of.model_class}"
    yield ""
    yield f'base = {of.model_class}.from_pretrained("{base}")'
    yield 'model = PeftModel.from_pretrained(base, "FOLDER")'


def _data(
    store: Store, expanded: Mapping[str, Any], cell: Mapping[str, Any]
) -> Iterator[dict[str, str]]:
    """The sources of the rows that the cell's trainings read."""
    steps, seen = expanded["steps"], set()
    for fingerprint in cell["chain"]:
        for role, parent in steps[fingerprint]["parents"].items():
            if not role.startswith("train:"):
                continue
            records = steps[parent]["parents"]["records"]
            if records in seen:
                continue
            seen.add(records)
            source = steps[records]["spec"]["source"]
            manifest = store.manifest("records", records)
            identity = source.get("identity") or {}
            yield {
                "path": str(source["path"]),
                "config": str(source.get("config") or ""),
                "split": str(source.get("split") or ""),
                "version": str(identity.get("revision") or identity.get("sha256") or "")[:12],
                "licence": str((manifest.info.get("licence") if manifest else None) or ""),
            }


def _banner(store: Store, run: str) -> Iterator[str]:
    """What the report says of the whole run, such as that its data are generated."""
    summary = summary_of(store, run) or {}
    if summary.get("banner"):
        yield f"**{summary['banner']}**"
        yield ""


def _scores(store: Store, run: str, cell: Mapping[str, Any]) -> Iterator[str]:
    """The cell's scores in the run's report, by evaluation and language."""
    from xstilts.analysis.table_file import read_table

    key = f"runs/{run}/report/results.parquet"
    with tempfile.TemporaryDirectory(prefix="xstilts-") as scratch:
        if not has_report(store, run):
            yield "The run has no report yet."
            return
        table = read_table(store.get_file(key, Path(scratch) / "results.parquet"))
    names = ("backbone", "arm", "seed_intermediate", "seed_target", "trained_target")
    for name in names:
        same = table[name].isna() if cell[name] is None else table[name] == cell[name]
        table = table[same]
    yield "| evaluation | split | metric | language | rows | score |"
    yield "|---|---|---|---|---|---|"
    for row in table[table["checkpoint"] == "selected"].to_dict("records"):
        yield (
            f"| {row['evaluation']} | {row['split']} | {row['metric']} | {row['language']} | "
            f"{row['n']} | {row['value']:.2f} |"
        )
