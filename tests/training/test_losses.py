"""Saving and loading the heads of a finetune step."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from xstilts.models.head_set import Heads
from xstilts.store.manifest import Manifest

BACKBONE: Any = SimpleNamespace(width=8, pool="last")


def task(name: str, format_: str, classes: int, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "format": format_,
        "objective": "head",
        "classes": classes,
        "weight": 1.0,
        **more,
    }


def kept(
    tasks: list[dict[str, Any]], trained: list[dict[str, Any]], folder: Path
) -> tuple[Heads, Heads]:
    """(trained heads, the same heads read back). tasks: as the step's spec has them."""
    heads = Heads(trained, BACKBONE, {}, 1, "")
    files: Any = heads.save(folder)
    manifest = Manifest("finetune", "0", files, {"spec": {"tasks": tasks, "recipe": {}}}, {})
    store: Any = SimpleNamespace(file=lambda manifest, name: manifest.files[name])
    return heads, Heads.load(manifest, store, BACKBONE)


def same(one: Heads, other: Heads) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )


def test_saved_heads_load_unchanged(tmp_path: Path) -> None:
    tasks = [
        task("mnli", "classification", 3),
        task("squad", "span", 0),
        task("ud_en", "tagging", 17),
    ]
    assert same(*kept(tasks, tasks, tmp_path))


def test_a_head_of_an_open_set_of_tags_has_the_classes_that_it_was_trained_with(
    tmp_path: Path,
) -> None:
    spec, trained = [task("ud_deprel", "tagging", 0)], [task("ud_deprel", "tagging", 12)]
    heads, back = kept(spec, trained, tmp_path)
    assert same(heads, back)
    assert len(back.heads[0].out.bias) == 12


def test_a_task_and_its_translations_have_separate_heads(tmp_path: Path) -> None:
    tasks = [
        task("mnli", "classification", 3),
        task("mnli", "classification", 3, translated=["qaa"]),
    ]
    heads = Heads(tasks, BACKBONE, {}, 1, "")
    files = heads.save(tmp_path)
    assert len(files) == 2
    with torch.no_grad():
        for parameter in heads.heads[1].parameters():
            parameter += 1
    files = heads.save(tmp_path)
    manifest = Manifest("finetune", "0", files, {"spec": {"tasks": tasks, "recipe": {}}}, {})  # type: ignore[arg-type]
    store: Any = SimpleNamespace(file=lambda manifest, name: manifest.files[name])
    assert same(heads, Heads.load(manifest, store, BACKBONE))
