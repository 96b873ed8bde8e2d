"""Failed requests to KFP become errors that name the server, the action and what to do."""

import socket
import threading
from typing import Any

import pytest

from pipelines.kfp import kfp_client
from pipelines.kfp.error_texts import KfpError
from pipelines.kfp.kfp_client import Kfp
from tests.pipelines.kfp_server import error_body
from xstilts.errors import PlanError


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (400, "invalid request"),
        (401, "XSTILTS_KFP_TOKEN"),
        (403, "ask for a role"),
        (404, "root of the KFP API"),
        (409, "run the same command again"),
        (429, "wait a minute"),
        (500, "deployment/ml-pipeline"),
        (503, "deployment/ml-pipeline"),
    ],
)
def test_an_error_names_the_server_the_action_and_what_to_do(
    kfp_server: Any, status: int, advice: str
) -> None:
    kfp_server.fault = ("/runs/", status, error_body(status, "the server says so"))
    with pytest.raises(KfpError) as error:
        Kfp(kfp_server.address).run("one")
    message = str(error.value)
    assert kfp_server.address in message
    assert "cannot get run one" in message
    assert advice in message
    assert "the server says so" in message
    assert (error.value.status, error.value.exit_code) == (status, 3)


def test_the_error_page_of_a_proxy_is_not_shown(kfp_server: Any) -> None:
    kfp_server.fault = ("/runs/", 502, "<html><body>Bad Gateway nginx</body></html>")
    with pytest.raises(KfpError) as error:
        Kfp(kfp_server.address).run("one")
    assert "nginx" not in str(error.value)


def test_a_sign_in_page_is_not_a_response(kfp_server: Any) -> None:
    kfp_server.fault = ("/runs/", 200, "<html>Log in to Dex</html>")
    with pytest.raises(KfpError, match="not from a KFP API"):
        Kfp(kfp_server.address).run("one")


def test_a_sign_in_page_is_not_an_empty_list(kfp_server: Any) -> None:
    kfp_server.fault = ("/experiments", 200, "<html>Log in to Dex</html>")
    with pytest.raises(KfpError, match="not from a KFP API"):
        Kfp(kfp_server.address).experiment()


def test_a_timeout_is_reported(kfp_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    kfp_server.silent = True
    monkeypatch.setattr(kfp_client, "TIMEOUT", (0.2, 0.2))
    with pytest.raises(KfpError, match="timed out"):
        Kfp(kfp_server.address).run("one")


def test_an_unreachable_server_is_reported() -> None:
    with pytest.raises(KfpError, match=r"unreachable.*port-forward"):
        Kfp("http://127.0.0.1:9").run("one")


def test_a_tls_error_is_reported(tmp_path: Any) -> None:
    """A server without TLS, and a client that expects it."""
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


def test_the_page_of_a_run_is_on_the_ui_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    kfp = Kfp("http://127.0.0.1:8888/")
    assert kfp.url("one") == "http://127.0.0.1:8888/#/runs/details/one"
    monkeypatch.setenv("KF_PIPELINES_UI_ENDPOINT", "https://kfp.example/")
    assert kfp.url("one") == "https://kfp.example/#/runs/details/one"


@pytest.mark.parametrize(
    ("fault", "temporary"),
    [
        ((429, ""), True), ((500, ""), True), ((503, ""), True), ((504, ""), True), ((0, ""), True),
        ((401, ""), False), ((403, ""), False), ((404, ""), False), ((200, "<html>"), False),
    ],
    ids=lambda value: str(value[0]) if isinstance(value, tuple) else "",
)  # fmt: skip
def test_only_an_outage_is_temporary(
    kfp_server: Any, fault: tuple[int, str], temporary: bool
) -> None:
    kfp_server.fault = ("/runs/", *fault)
    with pytest.raises(KfpError) as error:
        Kfp(kfp_server.address).run("one")
    assert error.value.temporary == temporary


def test_an_unreachable_server_is_an_outage() -> None:
    with pytest.raises(KfpError) as error:
        Kfp("http://127.0.0.1:9").run("one")
    assert error.value.temporary
