"""Measures the upload and download of blobs against s5cmd and `aws s3 cp`, on one S3 server.

The server is `rclone serve s3`, which xstilts starts for local runs. Every transfer is checked: the
SHA-256 of each file that arrived is that of the file that was sent. xstilts computes the SHA-256 of
each blob in its own time, the others do not.

    python -m benchmarks.store [--rounds 5] [--aws PATH] [--s5cmd PATH]
"""

import argparse
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.measure import OURS, Record, interleaved, write
from xstilts.environment import variables
from xstilts.store.server import serve
from xstilts.store.store import Store, file_sha256

#: Case → (files, bytes of each).
CASES = {"500 blobs of 64 kB": (500, 64_000), "4 blobs of 128 MB": (4, 128_000_000)}
BUCKET = "xstilts"


def make_files(folder: Path, count: int, size: int) -> dict[str, Path]:
    """SHA-256 → a file of random bytes of that name, as blobs are named."""
    folder.mkdir()
    generator = np.random.default_rng(count)
    paths = {}
    for number in range(count):
        path = folder / f"{number}.part"
        path.write_bytes(generator.bytes(size))
        name = file_sha256(path)
        paths[name] = path.rename(folder / name)
    return paths


class Transfers:
    """Alternatives that send the files of a folder and get them back, each under a prefix of its
    own. Each returns its seconds.
    """

    def __init__(self, files: Mapping[str, Path], folder: Path, server: Path) -> None:
        self._files, self._folder, self._server = files, folder, server
        self._source = next(iter(files.values())).parent
        self._round = 0

    def up(self, send: Callable[[Path, str], None]) -> float:
        self._round += 1
        prefix = f"up-{self._round}"
        seconds = timed(lambda: send(self._source, prefix))
        self._check(self._server / prefix)
        shutil.rmtree(self._server / prefix)
        return seconds

    def down(self, receive: Callable[[str, Path], None]) -> float:
        into = Path(tempfile.mkdtemp(dir=self._folder))
        seconds = timed(lambda: receive("source", into))
        self._check(into)
        shutil.rmtree(into)
        return seconds

    def _check(self, folder: Path) -> None:
        arrived = {path.name: path for path in folder.rglob("*") if path.is_file()}
        files = {name: path for name, path in arrived.items() if name in self._files}
        if files.keys() != self._files.keys():
            raise AssertionError(f"{len(self._files) - len(files)} files are missing in {folder}")
        if wrong := [name for name, path in files.items() if file_sha256(path) != name]:
            raise AssertionError(f"wrong bytes in {folder}: {wrong}")


def timed(action: Callable[[], None]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def xstilts_up(source: Path, prefix: str) -> None:
    store = Store.open(f"s3://{BUCKET}/{prefix}", cache=source.parent / "unused")
    store.put_blobs(source.iterdir())


def xstilts_down(prefix: str, into: Path, names: Sequence[str]) -> None:
    store = Store.open(f"s3://{BUCKET}/{prefix}", cache=into)
    store.fetch(names)


def tool(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def alternatives(
    files: Mapping[str, Path], aws: str | None, s5cmd: str | None
) -> dict[str, tuple[Callable[[Path, str], None], Callable[[str, Path], None]]]:
    """Name → (send, receive)."""
    endpoint = os.environ["AWS_ENDPOINT_URL"]
    names = [*files]
    pairs: dict[str, tuple[Callable[[Path, str], None], Callable[[str, Path], None]]] = {
        OURS: (xstilts_up, lambda prefix, into: xstilts_down(prefix, into, names))
    }
    if s5cmd:
        start = [s5cmd, "--endpoint-url", endpoint, "cp"]
        pairs["s5cmd"] = (
            lambda source, prefix: tool(*start, f"{source}/*", f"s3://{BUCKET}/{prefix}/blobs/"),
            lambda prefix, into: tool(*start, f"s3://{BUCKET}/{prefix}/blobs/*", f"{into}/"),
        )
    if aws:
        copy = [aws, "--endpoint-url", endpoint, "s3", "cp", "--recursive", "--only-show-errors"]
        pairs["aws s3 cp"] = (
            lambda source, prefix: tool(*copy, str(source), f"s3://{BUCKET}/{prefix}/blobs/"),
            lambda prefix, into: tool(*copy, f"s3://{BUCKET}/{prefix}/blobs/", str(into)),
        )
    return pairs


def measure(case: str, rounds: int, aws: str | None, s5cmd: str | None) -> list[Record]:
    count, size = CASES[case]
    with tempfile.TemporaryDirectory(prefix="xstilts-benchmark-") as scratch:
        folder = Path(scratch)
        files = make_files(folder / "files", count, size)
        with serve(folder / "s3") as server, variables(server.env()):
            stored = folder / "s3" / BUCKET
            xstilts_up(folder / "files", "source")
            transfers = Transfers(files, folder, stored)
            pairs = alternatives(files, aws, s5cmd)
            sends = {name: lambda f=pair[0]: transfers.up(f) for name, pair in pairs.items()}
            receives = {name: lambda f=pair[1]: transfers.down(f) for name, pair in pairs.items()}
            results = {
                f"upload, {case}": interleaved(rounds, sends, warm_up=1),
                f"download, {case}": interleaved(rounds, receives, warm_up=1),
            }
    absent = {
        name: "not installed"
        for name, path in (("s5cmd", s5cmd), ("aws s3 cp", aws))
        if path is None
    }
    setting = {"files": count, "bytes": size, "rounds": rounds}
    notes = {OURS: "with SHA-256 of every blob, in a running process"}
    target = dict.fromkeys([name for name in pairs if name != OURS], 1.0)
    return [
        Record(name, "s", figures, notes, absent, setting, target=target)
        for name, figures in results.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--case", choices=CASES, action="append", help="may be repeated")
    parser.add_argument("--aws", default=shutil.which("aws"), help="path of the AWS CLI")
    parser.add_argument("--s5cmd", default=shutil.which("s5cmd"), help="path of s5cmd")
    options = parser.parse_args()
    for case in options.case or CASES:
        records = measure(case, options.rounds, options.aws, options.s5cmd)
        write("store", records)
        for record in records:
            print(record.case, {name: sorted(v) for name, v in record.figures.items()})


if __name__ == "__main__":
    main()
