"""A run of the small plan that nothing disturbs, once for all tests, and what it showed to others."""

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.exposure import MARKED, Exposure, Listener, ask_gcs, keep, knock, look
from tests.e2e.runs import Finished, command, results


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    home = tmp_path_factory.mktemp("undisturbed")
    with (
        tempfile.TemporaryDirectory(
            prefix="x", dir="/tmp"
        ) as temporary,  # short, for Ray's sockets
        tempfile.TemporaryDirectory(prefix="xstilts-kept-", dir="/tmp") as kept,
    ):
        seen = Exposure(Path(kept))
        environment = {**os.environ, **MARKED, "TMPDIR": temporary}
        knocked = False
        with subprocess.Popen(command(home), env=environment) as process:
            while process.poll() is None:
                now = look([process.pid], seen)
                keep(Path(temporary), seen)
                if not knocked and _at_work(now):
                    knocked = True
                    knock(now, seen)
                    _ask(home, seen)
                time.sleep(0.5)
        assert process.returncode == 0
        left = sorted(path.name for path in Path(temporary).rglob("*"))
        yield Finished(home, results(home), seen, left)


def _at_work(now: set[Listener]) -> bool:
    return any(one.program.startswith("ray::RayTrain") for one in now)


def _ask(home: Path, seen: Exposure) -> None:
    """Asks the GCS for all it knows: with the run's token, without one, and with another."""
    [token] = [secret for secret in seen.secrets if len(secret) == 64]
    address = (home / "out" / "logs" / "ray.address").read_text()
    code, seen.gcs = ask_gcs(address, token)
    assert code == 0
    seen.gcs_codes = [ask_gcs(address, other)[0] for other in (None, "0" * 64)]
