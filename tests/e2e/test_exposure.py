"""A run on this machine offers nothing to others: no port, no secret in a file, an argument, a
process that does not need it, or an answer of Ray's GCS.
"""

import pytest

from tests.e2e.exposure import MARKED, appearances
from tests.e2e.runs import Finished

pytestmark = [pytest.mark.slow, pytest.mark.e2e, pytest.mark.ray]


def secrets(finished: Finished) -> set[str]:
    return {*MARKED.values(), *finished.exposure.secrets}


def test_every_port_is_on_loopback(undisturbed: Finished) -> None:
    assert len(undisturbed.exposure.listeners) > 5, "the run was looked at too late"
    assert undisturbed.exposure.reachable == []


def test_other_machines_connect_to_no_port(undisturbed: Finished) -> None:
    exposure = undisturbed.exposure
    if exposure.no_namespace:
        pytest.skip(f"NO SECOND NAMESPACE: {exposure.no_namespace}")
    assert exposure.control == "connected", "the probe reaches an open port of this machine"
    assert len(exposure.from_outside) > 5
    assert set(exposure.from_outside.values()) == {"refused"}


def test_a_process_without_the_token_starts_no_job(undisturbed: Finished) -> None:
    answers = set(undisturbed.exposure.from_here.values())
    assert answers & {"connected", "HTTP 401"}, "the ports were tried while Ray listened"
    assert "HTTP 200" not in answers


def test_the_gcs_refuses_clients_without_the_token(undisturbed: Finished) -> None:
    assert undisturbed.exposure.gcs_codes == [3, 3]


def test_ray_and_the_store_have_secrets_of_their_own(undisturbed: Finished) -> None:
    assert {len(secret) for secret in undisturbed.exposure.secrets} == {32, 64}


def test_no_process_inherits_a_secret_that_it_has_no_use_for(undisturbed: Finished) -> None:
    assert undisturbed.exposure.inherited == set()


def test_no_command_line_holds_a_secret(undisturbed: Finished) -> None:
    commands = undisturbed.exposure.commands
    assert any(str(undisturbed.home) in command for command in commands)
    assert [c for c in commands for s in secrets(undisturbed) if s in c] == []


def test_the_gcs_tells_no_secret(undisturbed: Finished) -> None:
    """It tells what goes through runtime_env, such as the cache's path, to all its clients."""
    answers = undisturbed.exposure.gcs
    assert f"{undisturbed.home}/cache".encode() in answers
    assert [secret for secret in secrets(undisturbed) if secret.encode() in answers] == []


def test_no_file_of_the_run_holds_a_secret(undisturbed: Finished) -> None:
    """Logs, reports, the pipeline's files, the store's objects, and temporary files: Ray's session
    and KFP's scripts.
    """
    folders = (undisturbed.home, undisturbed.exposure.files)
    kept = [path.name for path in undisturbed.exposure.files.rglob("*")]
    assert {"runtime_env_agent.log", "gcs_server.out"} <= set(kept)
    assert appearances(f"{undisturbed.home}/cache", undisturbed.exposure.files)
    assert [
        place for secret in secrets(undisturbed) for place in appearances(secret, *folders)
    ] == []


def test_temporary_files_are_private_and_removed(undisturbed: Finished) -> None:
    assert undisturbed.exposure.modes == {"0700"}
    assert undisturbed.left == []
