"""Every shell script of the project: shellcheck, strict mode, the bit that makes it a command;
and versions.lock.
"""

import hashlib
import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.k8s.manifests import K8S, ROOT, tool
from tests.k8s.recorder import Recorder

SCRIPTS = sorted(K8S.rglob("*.sh"))
SOURCED = {"say.sh", "place.sh", "site.sh"}
LOCK = json.loads((K8S / "versions.lock").read_text())
FETCH = 'set -euo pipefail; . "{say}"; fetched kueue "{file}"'


def test_scripts_pass_shellcheck() -> None:
    command = [
        tool("shellcheck"),
        "-x",
        "-P",
        "SCRIPTDIR",
        *map(str, SCRIPTS),
        *(str(ROOT / ".ci" / name) for name in ("run", "engine", "cluster")),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_shellcheck_finds_a_planted_mistake(tmp_path: Path) -> None:
    planted = tmp_path / "planted.sh"
    planted.write_text("#!/usr/bin/env bash\nrm -rf $1/*\n")
    assert (
        subprocess.run(
            [tool("shellcheck"), str(planted)], capture_output=True, check=False
        ).returncode
        == 1
    )


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(K8S)))
def test_a_script_is_a_command_that_stops_at_its_first_error(script: Path) -> None:
    lines = script.read_text().splitlines()
    if script.name in SOURCED:
        assert lines[0] == "# shellcheck shell=bash"
        return
    assert lines[0] == "#!/usr/bin/env bash"
    assert lines[1].startswith("# ")
    assert "set -euo pipefail" in lines
    assert script.stat().st_mode & 0o111, "chmod +x"


def test_makefile_targets_are_these_scripts() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for name in ("up", "test", "down"):
        assert re.search(rf"^kind-{name}:.*\n\tk8s/kind/{name}\.sh$", makefile, re.M)


def test_scripts_call_targets_that_the_makefile_has() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    text = "\n".join(script.read_text() for script in SCRIPTS)
    calls = re.findall(r'-C "\$REPOSITORY" ([a-z ]+)', text)
    assert calls
    assert {word for call in calls for word in call.split()} <= targets


def test_versions_are_pinned_and_no_checksum_is_invented() -> None:
    for name, entry in LOCK.items():
        if name == "comment":
            continue
        assert re.search(r"\d+\.\d+\.\d+$", entry.get("version") or entry["image"]), name
        assert re.fullmatch(r"[0-9a-f]{40}", entry.get("commit", "0" * 40)), name
        for key in ("sha256", "digest"):
            assert entry.get(key) is None or re.fullmatch(r"(sha256:)?[0-9a-f]{64}", entry[key]), (
                name
            )
        if "url" in entry:
            assert entry["version"] in entry["url"]


def test_manifests_are_fetched_at_locked_commits_only() -> None:
    for script in (K8S / "install").glob("*.sh"):
        for reference in re.findall(r"\?ref=([^\"\s]+)", script.read_text()):
            assert reference in ("$KFP_COMMIT", "$KUBERAY_COMMIT"), script.name


def _fetch(tmp_path: Path, sha256: str | None, body: str) -> tuple[int, str, bool]:
    """(status, what was said, whether the file was kept) of a download under a lock with this
    checksum.
    """
    home = tmp_path / "k8s"
    home.mkdir()
    (home / "say.sh").write_text((K8S / "say.sh").read_text())
    (home / "versions.lock").write_text(
        json.dumps({"kueue": {"url": "https://example.test/x", "sha256": sha256}})
    )
    script = tmp_path / "fetch.sh"
    file = tmp_path / "download"
    script.write_text(FETCH.format(say=home / "say.sh", file=file))
    done = Recorder(tmp_path, [{"to": "^curl", "file": body}]).run(script)
    return done.status, done.errors, file.exists()


def test_a_download_with_the_locked_checksum_is_taken(tmp_path: Path) -> None:
    status, _, kept = _fetch(tmp_path, hashlib.sha256(b"bytes").hexdigest(), "bytes")
    assert (status, kept) == (0, True)


def test_a_download_with_another_checksum_is_refused(tmp_path: Path) -> None:
    status, said, kept = _fetch(tmp_path, hashlib.sha256(b"bytes").hexdigest(), "other bytes")
    assert (status, kept) == (1, False)
    assert "do not install it" in said


def test_without_a_locked_checksum_the_one_that_came_is_told(tmp_path: Path) -> None:
    status, said, kept = _fetch(tmp_path, None, "bytes")
    assert (status, kept) == (0, True)
    assert hashlib.sha256(b"bytes").hexdigest() in said
