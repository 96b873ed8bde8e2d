"""A run of the small plan that nothing disturbs, once for all tests."""

import os
import subprocess
import time

import pytest

from tests.e2e.exposure import MARKED, Exposure, look
from tests.e2e.runs import Finished, command, results


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    home = tmp_path_factory.mktemp("undisturbed")
    seen = Exposure()
    with subprocess.Popen(command(home), env={**os.environ, **MARKED}) as process:
        while process.poll() is None:
            look(process.pid, seen)
            time.sleep(0.5)
    assert process.returncode == 0
    return Finished(home, results(home), seen)
