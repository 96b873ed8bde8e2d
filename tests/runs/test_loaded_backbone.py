"""What a group downloads before its steps run."""

from typing import Any

from xstilts.runs.loaded_backbone import LoadedBackbone
from xstilts.step import Step
from xstilts.store.manifest import Blob, Manifest


class Recorded:
    """A store that records what is read from it."""

    def __init__(self, manifests: dict[tuple[str, str], Manifest]) -> None:
        self.known, self.read, self.fetched = manifests, [], []  # type: ignore[var-annotated]

    def manifest(self, kind: str, fingerprint: str) -> Manifest | None:
        self.read.append((kind, fingerprint))
        return self.known.get((kind, fingerprint))

    def manifests(self, steps: list[tuple[str, str]]) -> list[Manifest | None]:
        return [self.manifest(*step) for step in steps]

    def fetch(self, hashes: list[str]) -> None:
        self.fetched.append(sorted(hashes))


def manifest(kind: str, name: str, file: str, info: dict[str, Any], **parents: str) -> Manifest:
    return Manifest(kind, name, {file: Blob(f"blob of {name}", 1)}, {"parents": parents}, info)


def loaded(store: Any) -> LoadedBackbone:
    backbone = LoadedBackbone.__new__(LoadedBackbone)
    backbone.store, backbone._parents = store, {}
    return backbone


ENCODED = manifest("encode", "e", "encoded.parquet", {"images_sha": "pictures"}, records="r")
RECORDS = manifest("records", "r", "records.parquet", {})
STEP = Step("finetune", {}, {"train:snli": "e", "gold:en": "r", "init": "i", "train:lost": "x"})


def test_rows_records_and_pictures_of_a_step_are_fetched_at_once() -> None:
    store = Recorded({("encode", "e"): ENCODED, ("records", "r"): RECORDS})
    loaded(store).fetch([STEP])
    assert store.fetched == [["blob of e", "blob of r", "pictures"]]
    assert ("finetune", "i") not in store.read


def test_manifests_are_read_once_and_kept_for_the_steps() -> None:
    store = Recorded({("encode", "e"): ENCODED, ("records", "r"): RECORDS})
    backbone = loaded(store)
    backbone.fetch([STEP])
    store.read.clear()
    assert backbone.parent("encode", "e", STEP) is ENCODED
    assert backbone.parent("records", "r", STEP) is RECORDS
    assert store.read == []
