"""A run on this machine offers nothing to others: no open port, no secret in a file or argument."""

from pathlib import Path

import pytest

from tests.e2e.exposure import MARKED, appearances
from tests.e2e.runs import Finished

pytestmark = [pytest.mark.slow, pytest.mark.e2e, pytest.mark.ray]


def secrets(finished: Finished) -> set[str]:
    return {*MARKED.values(), *finished.exposure.secrets}


def test_every_port_is_on_loopback(undisturbed: Finished) -> None:
    assert len(undisturbed.exposure.ports) > 5, "the run was looked at too late"
    assert undisturbed.exposure.reachable == []


def test_ray_and_the_store_have_secrets_of_their_own(undisturbed: Finished) -> None:
    assert {len(secret) for secret in undisturbed.exposure.secrets} == {32, 64}


def test_no_command_line_holds_a_secret(undisturbed: Finished) -> None:
    found = [c for c in undisturbed.exposure.commands for s in secrets(undisturbed) if s in c]
    assert found == []


def test_no_file_of_the_run_holds_a_secret(undisturbed: Finished) -> None:
    """Logs, reports, the pipeline's files, the store's objects, and Ray's session."""
    folders = (undisturbed.home, Path("/tmp/ray"))
    assert [
        place for secret in secrets(undisturbed) for place in appearances(secret, *folders)
    ] == []
