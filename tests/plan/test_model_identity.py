"""Identities of backbones that are not built."""

from pathlib import Path

import pytest

from xstilts.errors import DataError, InfrastructureError
from xstilts.plan.backbone_plan import BackbonePlan
from xstilts.plan.model_identity import folder_digest, identity_of


def test_a_pinned_commit_is_its_own_identity() -> None:
    backbone = BackbonePlan(hub="org/model", revision="b" * 40, family="llava")
    assert identity_of("b", backbone) == {"hub": "org/model", "revision": "b" * 40}


def test_a_branch_cannot_be_resolved_offline() -> None:
    backbone = BackbonePlan(hub="org/model", family="llava")  # tests run with HF_HUB_OFFLINE
    with pytest.raises(InfrastructureError, match="set revision to the commit"):
        identity_of("b", backbone)


def test_the_digest_of_a_folder_ignores_hidden_files_only(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no config\.json"):
        folder_digest(tmp_path, "backbones.b.path")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"1")
    before = folder_digest(tmp_path, "backbones.b.path")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "x").write_text("not part of the model")
    assert folder_digest(tmp_path, "backbones.b.path") == before
    (tmp_path / "model.safetensors").write_bytes(b"2")
    assert folder_digest(tmp_path, "backbones.b.path") != before


def test_a_relative_path_is_absolute_in_the_identity(tmp_path, monkeypatch, stub_model):
    """Workers have another current folder than the program that expands the plan."""
    (tmp_path / "model").mkdir()
    stub_model(tmp_path / "model", {"model_type": "llava"})
    monkeypatch.chdir(tmp_path)
    identity = identity_of("b", BackbonePlan(path="model", family="llava"))
    assert identity["path"] == str(tmp_path / "model")


def test_a_model_added_to_a_mirror_by_hand_is_identified_by_its_files(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    backbone = BackbonePlan(hub="org/model", family="bert")
    digest = folder_digest(tmp_path, "backbones.b.hub")
    assert identity_of("b", backbone, tmp_path) == {"hub": "org/model", "identity": digest}


def test_a_model_added_to_a_mirror_by_hand_has_no_commit_to_pin(tmp_path: Path) -> None:
    backbone = BackbonePlan(hub="org/model", family="bert", revision="b" * 40)
    with pytest.raises(DataError, match="no recorded commit"):
        identity_of("b", backbone, tmp_path)
