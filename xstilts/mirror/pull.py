"""Copies what a plan needs from the hub, or from another mirror, to a folder or an S3 prefix.

Each file is downloaded under a temporary name, verified against the origin's digest, renamed, and
recorded with its SHA-256 and commit. Recorded files are complete and are not fetched again.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace

from xstilts.errors import counted
from xstilts.mirror.licences import card_licence
from xstilts.mirror.required_files import RequiredFile, required_files
from xstilts.mirror.target import Target
from xstilts.plan.expansion import Expansion
from xstilts.sources.mirrors import Mirror
from xstilts.sources.provenance import RECORD, Record, RecordedFile

THREADS = 4


@dataclass(frozen=True)
class PullResult:
    """fetched, kept: how many files of the plan were copied now, and existed before. bytes: copied
    now. records: of the data sets and models. left_out: what is not copied, and why.
    """

    fetched: int
    kept: int
    bytes: int
    records: Sequence[Record]
    left_out: Sequence[str]


def pull(
    expansion: Expansion, origin: Mirror, target: Target, progress: Callable[[str], None]
) -> PullResult:
    """Copies what a plan needs; run again, it resumes.

    DataError or InfrastructureError if a file cannot be copied; files that are complete stay
    recorded.

    Args:
        expansion: of the plan on `origin`.
        origin: to copy from.
        target: to copy to.
        progress: gets a line per file.
    """
    files, left_out = required_files(expansion, origin)
    records = _Records(target)
    missing = [file for file in files if not records.contain(file)]
    total = sum(file.size for file in missing)
    target.check_free_space(total)
    progress(
        f"{counted(len(files), 'file')}, {len(files) - len(missing)} already complete; "
        f"{len(missing)} to fetch, {total / 1e6:.1f} MB"
    )
    done = 0
    with ThreadPoolExecutor(THREADS) as pool:
        running = {pool.submit(_fetch, file, target, records): file for file in missing}
        try:
            for future in as_completed(running):
                future.result()
                file = running[future]
                done += file.size
                progress(f"{done / 1e6:.1f} of {total / 1e6:.1f} MB  {file.folder}/{file.name}")
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    folders = list(dict.fromkeys(file.folder for file in files))
    for folder in folders:
        records.add_licence(folder)
    return PullResult(
        len(missing),
        len(files) - len(missing),
        total,
        [records.by_folder[folder] for folder in folders],
        left_out,
    )


def _fetch(file: RequiredFile, target: Target, records: "_Records") -> None:
    name = f"{file.folder}/{file.name}"
    part = target.part(name)
    sha256 = file.fetch(part)
    target.put(name, part)
    records.add(file, RecordedFile(file.size, sha256, file.revision, file.origin))


class _Records:
    """The records of the sets in a mirror. A record is written whenever one of its files is
    complete.
    """

    def __init__(self, target: Target) -> None:
        self.target, self.lock = target, threading.Lock()
        self.by_folder: dict[str, Record] = {}

    def _of(self, file: RequiredFile) -> Record:
        if file.folder not in self.by_folder:
            self.by_folder[file.folder] = self.target.record(file.folder) or Record(
                file.kind, file.set
            )
        return self.by_folder[file.folder]

    def contain(self, file: RequiredFile) -> bool:
        """Whether the mirror has a file, complete and in the origin's version. For the same bytes
        at a newer commit, the commit is recorded.
        """
        recorded = self._of(file).files.get(file.name)
        size = self.target.size(f"{file.folder}/{file.name}")
        if recorded is None or not recorded.size == file.size == size:
            return False
        same = (
            recorded.sha256 == file.sha256
            if file.sha256
            else recorded.revision == file.revision is not None
        )
        if same and recorded.revision != file.revision:
            self.add(file, replace(recorded, revision=file.revision, origin=file.origin))
        return same

    def add(self, file: RequiredFile, recorded: RecordedFile) -> None:
        with self.lock:
            self._put(file.folder, self._of(file).with_file(file.name, recorded))

    def add_licence(self, folder: str) -> None:
        """Records the license that the card of a set states."""
        card = self.target.read(f"{folder}/README.md")
        licence = card_licence(card.decode("utf-8", "replace")) if card else None
        if licence != self.by_folder[folder].licence:
            self._put(folder, replace(self.by_folder[folder], licence=licence))

    def _put(self, folder: str, record: Record) -> None:
        self.by_folder[folder] = record
        self.target.put_json(f"{folder}/{RECORD}", record.to_json())
