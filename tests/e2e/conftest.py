"""A run of the small plan that nothing disturbs, once for all tests."""

import subprocess

import pytest

from tests.e2e.runs import Finished, command, results


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    home = tmp_path_factory.mktemp("undisturbed")
    subprocess.run(command(home), check=True)
    return Finished(home, results(home))
