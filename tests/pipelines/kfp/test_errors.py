"""What a KFP server can answer becomes an error that names the server, what was asked, and what
to do.
"""

import socket
import threading
from typing import Any

import pytest

from pipelines.kfp import api
from pipelines.kfp.api import Kfp
from pipelines.kfp.errors import KfpError
from xstilts.errors import PlanError


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (400, "refuses the request"),
        (401, "XSTILTS_KFP_TOKEN"),
        (403, "ask for a role"),
        (404, "root of the KFP API"),
        (409, "run the same command again"),
        (429, "wait a minute"),
        (500, "deployment/ml-pipeline"),
        (503, "deployment/ml-pipeline"),
    ],
)
def test_each_refusal_says_who_what_and_what_to_do(
    kfp_server: Any, status: int, advice: str
) -> None:
    kfp_server.fault = ("/runs/", status, '{"message": "the server says so", "details": []}')
    with pytest.raises(KfpError) as error:
        Kfp(kfp_server.address).run("one")
    message = str(error.value)
    assert kfp_server.address in message
    assert "asked to tell of run one" in message
    assert advice in message
    assert "the server says so" in message
    assert (error.value.status, error.value.exit_code) == (status, 3)


def test_a_proxys_error_page_is_not_repeated(kfp_server: Any) -> None:
    kfp_server.fault = ("/runs/", 502, "<html><body>Bad Gateway nginx</body></html>")
    with pytest.raises(KfpError) as error:
        Kfp(kfp_server.address).run("one")
    assert "nginx" not in str(error.value)


def test_a_sign_in_page_is_told_from_the_api(kfp_server: Any) -> None:
    kfp_server.fault = ("/runs/", 200, "<html>Log in to Dex</html>")
    with pytest.raises(KfpError, match="no KFP API"):
        Kfp(kfp_server.address).run("one")


def test_a_sign_in_page_is_told_from_an_empty_list(kfp_server: Any) -> None:
    kfp_server.fault = ("/experiments", 200, "<html>Log in to Dex</html>")
    with pytest.raises(KfpError, match="no KFP API"):
        Kfp(kfp_server.address).experiment()


def test_a_server_that_does_not_answer_in_time_is_told(
    kfp_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    kfp_server.silent = True
    monkeypatch.setattr(api, "TIMEOUT", (0.2, 0.2))
    with pytest.raises(KfpError, match="did not answer in time"):
        Kfp(kfp_server.address).run("one")


def test_a_server_that_is_not_there_is_told() -> None:
    with pytest.raises(KfpError, match=r"cannot be reached.*port-forward"):
        Kfp("http://127.0.0.1:9").run("one")


def test_a_certificate_that_is_not_accepted_is_told(tmp_path: Any) -> None:
    """A server that speaks no TLS to a client that expects it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            for _ in range(4):
                connection, _ = listening.accept()
                connection.recv(100)
                connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")
                connection.close()

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(KfpError, match="--ca-cert"):
            Kfp(f"https://127.0.0.1:{listening.getsockname()[1]}").run("one")


def test_a_host_without_a_scheme_is_refused() -> None:
    with pytest.raises(PlanError, match=r"https://kfp\.example"):
        Kfp("kfp.example")


def test_a_runs_page_is_where_the_pages_are(monkeypatch: pytest.MonkeyPatch) -> None:
    kfp = Kfp("http://127.0.0.1:8888/")
    assert kfp.url("one") == "http://127.0.0.1:8888/#/runs/details/one"
    monkeypatch.setenv("KF_PIPELINES_UI_ENDPOINT", "https://kfp.example/")
    assert kfp.url("one") == "https://kfp.example/#/runs/details/one"


def test_waiting_outlasts_a_server_that_fails_for_a_while(kfp_server: Any) -> None:
    kfp = Kfp(kfp_server.address)
    kfp_server.kept["runs"]["one"] = {"run_id": "one", "state": "RUNNING", "asked": 0}
    kfp_server.fault = ("/runs/", 503, "{}")
    looks = []

    def look() -> None:
        looks.append(1)
        if len(looks) == 3:
            kfp_server.fault = None

    assert kfp.wait("one", every=0.0, look=look) == "SUCCEEDED"


def test_waiting_ends_when_the_server_stays_away_and_says_that_the_run_goes_on(
    kfp_server: Any,
) -> None:
    kfp_server.fault = ("/runs/", 503, "{}")
    with pytest.raises(KfpError, match="The run goes on"):
        Kfp(kfp_server.address).wait("one", every=0.0, patience=2)


@pytest.mark.parametrize("state", ["SUCCEEDED", "FAILED", "SKIPPED", "CANCELED"])
def test_waiting_ends_with_every_state_that_is_an_end(kfp_server: Any, state: str) -> None:
    kfp_server.kept["runs"]["one"] = {"run_id": "one", "state": state, "asked": 0}
    kfp_server.states = [state]
    assert Kfp(kfp_server.address).wait("one", every=0.0) == state
