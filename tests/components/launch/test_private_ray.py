"""The settings of a run's own Ray that ray.init has no options for."""

import os

import pytest

from components.launch import private_ray
from xstilts.environment import variables

PORTS = (
    "dashboard_agent_listen_port",
    "metrics_agent_port",
    "metrics_export_port",
    "runtime_env_agent_port",
)


def test_agents_get_free_ports_while_ray_is_started_and_not_after() -> None:
    from ray._private import parameter

    default = parameter.RayParams().dashboard_agent_listen_port
    with private_ray.agent_ports():
        started = parameter.RayParams(metrics_export_port=None)  # as ray.init passes it
        ports = [getattr(started, name) for name in PORTS]
    assert len({*ports, default}) == 5
    assert all(1024 <= port < 65536 for port in ports)
    assert parameter.RayParams().dashboard_agent_listen_port == default


def test_each_run_has_a_token_of_its_own_and_the_caller_keeps_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    tokens = set()
    for _ in range(2):
        with variables(private_ray.settings()):
            assert os.environ["RAY_AUTH_MODE"] == "token"
            tokens.add(os.environ["RAY_AUTH_TOKEN"])
    assert {len(token) for token in tokens} == {64}
    assert len(tokens) == 2
    assert os.environ["RAY_AUTH_MODE"] == "disabled"
    assert "RAY_AUTH_TOKEN" not in os.environ
