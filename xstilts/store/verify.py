"""Verifies a store: manifests can be read, and their blobs exist and have the right SHA-256."""

from xstilts.errors import StoreError
from xstilts.step import RECIPE_VERSION
from xstilts.store.store import Store


def verify(store: Store) -> list[str]:
    """One line per problem: a manifest that cannot be read, or a missing or corrupt blob."""
    problems: list[str] = []
    blobs: dict[str, str] = {}
    for kind in RECIPE_VERSION:
        for fingerprint in sorted(store.done(kind)):
            where = f"steps/{kind}/{fingerprint}"
            try:
                manifest = store.manifest(kind, fingerprint)
            except StoreError as error:
                problems.append(f"{error}; delete it and run the plan again")
                continue
            for name, blob in manifest.files.items() if manifest else ():
                blobs.setdefault(blob.sha256, f"{where} ({name})")
    for sha256, needed_by in blobs.items():
        try:
            (store.cache / sha256[:2] / sha256).unlink(missing_ok=True)
            store.blob_path(sha256)
        except StoreError as error:
            problems.append(f"{needed_by}: {error}")
    return problems
