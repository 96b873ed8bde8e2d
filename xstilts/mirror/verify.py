"""Verifies the files of a mirror against their records."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from xstilts.errors import PlanError
from xstilts.mirror.target import Target
from xstilts.sources.provenance import RECORD


@dataclass(frozen=True)
class Problem:
    """A recorded file that is `missing`, or `corrupt: SHA-256 mismatch`."""

    folder: str
    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.folder}/{self.name}: {self.reason}"


def verify(target: Target) -> tuple[int, list[Problem]]:
    """(number of recorded files, those that are missing or corrupt)."""
    folders = target.recorded_folders()
    if not folders:
        raise PlanError(
            f"{target.address}: no records in this folder; only mirrors of `xstilts mirror pull` "
            "can be verified"
        )
    count, problems = 0, []
    for folder in folders:
        record = target.record(folder)
        for name, file in sorted(record.files.items() if record else ()):
            count += 1
            sha256 = target.sha256(f"{folder}/{name}")
            if sha256 is None:
                problems.append(Problem(folder, name, "missing"))
            elif sha256 != file.sha256:
                problems.append(Problem(folder, name, "corrupt: SHA-256 mismatch"))
    return count, problems


def remove_corrupt(target: Target, problems: Iterable[Problem]) -> None:
    """Removes missing and corrupt files from their records, so the next pull fetches them."""
    for problem in problems:
        record = target.record(problem.folder)
        if record and problem.name in record.files:
            files = {name: file for name, file in record.files.items() if name != problem.name}
            target.put_json(f"{problem.folder}/{RECORD}", replace(record, files=files).to_json())
