"""The command with which `make kind-test` takes the miniature into S3, run against a real S3
server.
"""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.k8s.manifests import tool
from xstilts.store.server import serve
from xstilts.store.store import Store

GOLDEN = Path(__file__).parent / "golden" / "kind-test.txt"


def test_the_miniature_s_files_arrive_under_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (line,) = [line for line in GOLDEN.read_text().splitlines() if line.startswith("rclone copy ")]
    data = tmp_path / "miniature" / "org" / "name"
    data.mkdir(parents=True)
    (data / "train-00000-of-00001.parquet").write_bytes(b"rows")
    with serve(tmp_path / "s3") as server:
        for name, value in {**server.env(), "RCLONE_CONFIG": os.devnull}.items():
            monkeypatch.setenv(name, value)
        line = line.replace("WORK/miniature", str(tmp_path / "miniature"))
        words = shlex.split(line.replace("http://127.0.0.1:8333", server.env()["AWS_ENDPOINT_URL"]))
        for _ in range(2):  # a second time changes nothing and is no error
            subprocess.run([tool("rclone"), *words[1:]], check=True, capture_output=True)
        store = Store.open("s3://xstilts/miniature", cache=tmp_path / "cache")
        assert list(store.list("")) == ["org/name/train-00000-of-00001.parquet"]
