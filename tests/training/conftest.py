"""Tiny backbones of every family for the tests of training."""

from collections.abc import Callable
from pathlib import Path

import pytest

from xstilts.miniature.backbones import build_tiny

TEXTS = ("the big dog sees anna in the park.", "where is the red ball?", "დიდი ძაღლი ხედავს ანას.")
SETTINGS = {
    "hidden": 32, "ff": 48, "layers": 2, "heads": 4, "vocab_size": 400, "vision_hidden": 32,
    "vision_ff": 32,
}  # fmt: skip


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Family → folder of its tiny backbone, built once."""
    made: dict[str, Path] = {}

    def build(family: str) -> Path:
        if family not in made:
            out = tmp_path_factory.mktemp(family)
            made[family] = build_tiny(family, 0, TEXTS, SETTINGS, out)
        return made[family]

    return build
