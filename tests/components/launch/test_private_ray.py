"""The settings of a run's own Ray that ray.init has no options for."""

import os

import pytest

from components.launch import private_ray
from components.launch.local import ray_start_seconds
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


def test_a_raylet_gets_more_time_than_ray_gives_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._private import services

    calls: list[str] = []

    def unknown_at_first(address: str) -> str:
        calls.append(address)
        if len(calls) < 3:
            raise RuntimeError("no node info")
        return "known"

    monkeypatch.setattr(services, "get_node", unknown_at_first)
    with private_ray.patient(60):
        assert services.get_node("gcs") == "known"
    assert services.get_node is unknown_at_first
    calls.clear()
    with private_ray.patient(0), pytest.raises(RuntimeError, match="no node info"):
        services.get_node("gcs")


@pytest.mark.parametrize(
    ("chosen", "load", "seconds"), [("", 0.5, 120.0), ("", 8.0, 480.0), ("30", 8.0, 30.0)]
)
def test_ray_gets_more_time_to_start_on_a_busy_machine(
    monkeypatch: pytest.MonkeyPatch, chosen: str, load: float, seconds: float
) -> None:
    monkeypatch.setenv("XSTILTS_RAY_START_SECONDS", chosen)
    monkeypatch.setattr(os, "getloadavg", lambda: (load, load, load))
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert ray_start_seconds() == seconds
