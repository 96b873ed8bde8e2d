"""Fixtures that several test packages share."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# A property is about values; how long an example takes on a busy machine is not its business.
settings.register_profile("values", deadline=None)
settings.load_profile("values")

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("RAY_AUTH_MODE", "disabled")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def hub() -> Path:
    """The mirror of real data slices beside the checkout; tests that need it skip where it is absent."""
    folder = ROOT.parent / "shared" / "hub"
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} is absent")
    return folder
