"""Mistakes that users make: each has a message, an exit code and no traceback."""

import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines import cli, failures
from pipelines.cli import main

STORE = "--store s3://bucket/p"
#: Command, exit code, part of the message. {file}: a file; {dir}: an empty folder; {gone}: nothing;
#: {home}: a folder for outputs; {bad}: a file that is not YAML.
MISTAKES: list[tuple[str, int, str]] = [
    # a file where a folder is needed
    ("run demo --home {file}", 2, "{file}: a file is in the way"),
    ("run demo --home {file}/below", 2, "a file is in the way"),
    ("run demo --home {home} --out {file}", 2, "a file is in the way"),
    ("plan demo --home {file}", 2, "a file is in the way"),
    ("rates demo --grid 1e-3 --out {file} --home {home}", 2, "a file is in the way"),
    ("store verify --home {file}", 2, "a file is in the way"),
    ("store gc --home {file}", 2, "a file is in the way"),
    ("store serve --home {file}", 2, "a file is in the way"),
    ("mirror pull {file} --plan demo --from {dir}", 2, "{file}: not a folder for a mirror"),
    # paths that cannot be read or written
    ("mirror miniature /proc/nowhere", 2, "/proc/nowhere"),
    ("compile -o {gone}/pipeline.yaml", 2, "{gone}: no such folder"),
    ("compile -o {dir}", 2, "a KFP package is a YAML file"),
    ("compile --settings {gone}", 2, "{gone}: cannot be read: no such file"),
    ("compile --settings {dir}", 2, "{dir}: cannot be read: a folder, not a file"),
    ("init {file}", 2, "exists; name a new file"),
    ("init {dir}", 2, "exists; name a new file"),
    ("init {gone}/plan.yaml", 2, "no such file or folder"),
    ("export {gone} {home}", 2, "no predictions of xtreme-r"),
    ("grade {gone} {gone}", 2, "no files of xtreme-r"),
    ("validate {gone}", 2, "{gone}: no such folder"),
    ("store verify --home {gone}", 2, "{gone}: no local runs"),
    ("store gc --home {gone}", 2, "{gone}: no local runs"),
    ("mirror verify {gone}", 2, "no such folder"),
    # unknown names
    ("frobnicate", 2, "no such command 'frobnicate'"),
    ("rn demo", 2, "Did you mean 'run'"),
    ("mirror pll {dir}", 2, "Did you mean 'pull'"),
    ("run demo --mirorr hub", 2, "Did you mean '--mirror'"),
    ("run dmo", 2, "did you mean demo?"),
    ("run {gone}", 2, "no such plan file"),
    ("run {dir}", 2, "a folder; name a plan file"),
    ("check {bad}", 2, "must be a mapping"),
    ("check demo --set sed=1", 2, "did you mean 'seeds'"),
    ("check demo --set seeds", 2, "expected key=value"),
    ("check demo --set arms.squad.task=squd", 2, "did you mean 'squad'"),
    ("check demo --tasks {gone}", 2, "{gone}: cannot be read: no such file"),
    ("schedule check {gone}", 2, "{gone}: cannot be read: no such file"),
    ("schedule check {dir}", 2, "no *.yaml"),
    ("schedule check {bad}", 2, "mistake"),
    # addresses of data
    ("plan demo --mirror {gone} --home {home}", 2, "--mirror '{gone}': no such folder"),
    ("plan demo --set mirror={gone} --home {home}", 2, "key mirror: '{gone}': no such folder"),
    ("mirror pull {dir} --plan demo --from {gone}", 2, "--from '{gone}': no such folder"),
    ("plan demo --mirror s3://UPPER/x --home {home}", 2, "--mirror 's3://UPPER/x'"),
    ("plan demo --mirror s3://b/x --home {home}", 2, "bucket names have 3 to 63 characters"),
    ("lock nope", 2, "unknown image nope"),
    ("tasks probe --task nonsense", 2, "nonsense"),
    ("rates demo --backbone nope --home {home}", 2, "nope"),
    ("export-model r --home {dir}", 2, "name a cell and a folder"),
    ("export-model r c {home} --home {dir}", 2, "no local runs"),
    ("runs --home {dir}", 2, "no local runs"),
    ("runs --home {dir} --failed yesterday", 2, "--failed 'yesterday': not a duration"),
    ("results {gone}", 2, "{gone}: no such folder"),
    ("results {file}", 2, "{file}: no such folder"),
    ("mirror pull {dir} --plan demo --from miniature", 2, "allowed: hub, a folder"),
    # hardware that this machine does not have
    ("run demo --set resources.gpus_per_worker=64 --home {home}", 3, "needs 128 GPUs"),
    # options that do not belong to the command, or values out of range
    ("mirror miniature {dir} --plan nope.yaml --forget", 2, "no such option: --plan"),
    ("tasks --rows 4 --task nonsense", 2, "no such option: --rows"),
    ("tasks probe --rows -1", 2, "--rows"),
    ("tasks probe --rows 0", 2, "--rows"),
    ("store gc --days -3", 2, "--days"),
    ("store gc --days soon", 2, "--days"),
    ("store serve --port 70000", 2, "--port"),
    ("plan demo --gpus -1", 2, "--gpus"),
    ("plan demo --gpus 0", 2, "--gpus"),
    ("check demo --limit 0", 2, "--limit"),
    ("run demo --limit -1", 2, "--limit"),
    ("run demo --runner podman", 2, "'podman' is not one of"),
    ("calibrate --trials 0", 2, "--trials"),
    ("wait r {store} --every 0", 2, "--every"),
    ("logs r {store} --tail 0", 2, "--tail"),
    ("logs r {store} --since yesterday", 2, "yesterday"),
    ("run", 2, "missing argument 'PLAN'"),
    ("run demo gpu", 2, "unexpected extra argument"),
    ("doctor --plan demo", 2, "add --cluster"),
    ("plan demo --offline --mirror hub", 2, "--offline looks nothing up"),
    ("rates demo --grid fast", 2, "not a list of rates"),
    ("rates demo --grid 1e-3 -o {gone}/best.yaml --home {home}", 2, "--output {gone}/best.yaml"),
    ("rates demo --grid 1e-3 -o {dir} --home {home}", 2, "--output {dir}: not a file"),
    ("rates demo --grid nan", 2, "positive, finite and distinct"),
    ("plan demo --offline --gpus 99999999999999999999", 2, "--gpus"),
    ("tasks probe --rows 99999999999999999999", 2, "--rows"),
    ("calibrate --trials 99999999999999999999", 2, "--trials"),
    ("calibrate --seed -1", 2, "--seed"),
    ("wait r {store} --every inf", 2, "--every"),
    ("logs r {store} --follow --every inf", 2, "--every"),
    ("logs r {store} --tail 99999999999999999999", 2, "--tail"),
    ("submit demo --host http://h {store} --every inf", 2, "--every"),
    ("check demo --limit 99999999999999999999", 2, "limit: 99999999999999999999 should be less"),
    ("rates demo --plans {home} --finished", 2, "exclude each other"),
    ("mirror pull {dir}", 2, "--plan"),
    ("mirror pull {dir} --plan demo --from {dir}", 2, "same mirror"),
    # stores and servers
    ("mirror pull s3://b/m --plan demo --from {dir}", 2, "DIR 's3://b/m': invalid address"),
    ("mirror verify s3://", 2, "DIR 's3://': invalid address"),
    ("submit demo --host localhost:1 {store} --mirror hub", 2, "--host 'localhost:1': not a URL"),
    ("status r --store bucket/p", 2, "expected s3://bucket/prefix"),
    ("status r --store s3://b/p", 2, "bucket names have 3 to 63 characters"),
    ("status r {store}", 3, "no S3 credentials"),
    ("report r {store}", 3, "no S3 credentials"),
    ("wait r {store}", 3, "no S3 credentials"),
    ("logs r {store}", 3, "no S3 credentials"),
    ("schedule diff --host http://localhost:1 {bad} {store}", 3, "no S3 credentials"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def no_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))


@pytest.fixture
def places(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "file").write_text("")
    (tmp_path / "dir").mkdir()
    (tmp_path / "bad.yaml").write_text("- not\n- a plan\n")
    names = {"file": "file", "dir": "dir", "gone": "gone", "home": "home", "bad": "bad.yaml"}
    return {key: str(tmp_path / name) for key, name in names.items()} | {"store": STORE}


@pytest.mark.parametrize(("command", "code", "message"), MISTAKES, ids=[m[0] for m in MISTAKES])
def test_a_mistake_has_a_message_and_an_exit_code(
    command: str,
    code: int,
    message: str,
    places: dict[str, str],
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert main([word.format(**places) for word in command.format(**places).split()]) == code
    output = capfd.readouterr()
    assert output.err.startswith("xstilts: ")
    assert message.format(**places) in output.err
    assert "Traceback" not in output.err + output.out
    assert "unexpected" not in output.err.partition("extra argument")[0] or "extra" in message


#: Variable, value, command, exit code, part of the message.
SETTINGS: list[tuple[str, str, str, int, str]] = [
    ("XSTILTS_RAY_START_SECONDS", "soon", "run demo --home {home}", 2, "not a number of seconds"),
    ("XSTILTS_RAY_START_SECONDS", "-1", "run demo --home {home}", 2, "not a number of seconds"),
    ("XSTILTS_LAUNCHER", "nonsense", "run demo --home {home}", 3, "allowed: local, ray, rayjob"),
    ("AWS_ENDPOINT_URL", "localhost", "runs {store}", 3, "Invalid endpoint: localhost"),
    ("AWS_ENDPOINT_URL", "http://", "status r {store}", 3, "Invalid endpoint: http://"),
    ("AWS_ENDPOINT_URL", "http://[", "runs {store}", 3, "Invalid IPv6 URL"),
    ("AWS_ENDPOINT_URL", "http://u:p@h:x", "runs {store}", 3, "http://***@h:x"),
    ("AWS_ENDPOINT_URL", "http://h:99999999", "runs {store}", 3, "http://h:99999999"),
    ("AWS_ENDPOINT_URL", "localhost", "plan demo --mirror s3://bucket/m --home {home}", 3, "localhost"),
    ("AWS_MAX_ATTEMPTS", "many", "runs {store}", 3, "AWS_MAX_ATTEMPTS='many'"),
    ("AWS_PROFILE", "nobody", "runs {store}", 3, "profile (nobody) could not be found"),
    ("AWS_REGION", "no region", "runs {store}", 3, "'no region'"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value", "command", "code", "message"), SETTINGS, ids=["=".join(s[:2]) for s in SETTINGS]
)  # fmt: skip
def test_an_invalid_setting_of_the_environment_has_a_message(
    name: str, value: str, command: str, code: int, message: str, places: dict[str, str],
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    if name.startswith("AWS_"):
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv(name, value)
    assert main(command.format(**places).split()) == code
    output = capfd.readouterr()
    assert output.err.startswith("xstilts: ")
    assert message in output.err
    assert "network error" not in output.err
    assert "unexpected" not in output.err


# ---- errors of the operating system and the network ----


def raising(error: Exception) -> Callable[..., None]:
    def raise_it(*_: object, **__: object) -> None:
        raise error

    return raise_it


def network_errors() -> list[Exception]:
    import httpx2
    import requests
    import urllib3
    from botocore.exceptions import EndpointConnectionError

    return [
        httpx2.ConnectError("refused"),
        httpx2.ProxyError("407"),
        requests.exceptions.ProxyError("407"),
        urllib3.exceptions.ProtocolError("broken"),
        EndpointConnectionError(endpoint_url="http://x"),
        ConnectionResetError(errno.ECONNRESET, "reset"),
        TimeoutError("timed out"),
    ]


@pytest.mark.parametrize("error", network_errors(), ids=lambda error: type(error).__module__)
def test_an_error_of_the_network_is_one_line(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pipelines.plan_file.shipped_plans", raising(error))
    assert main(["plans"]) == 3
    text = capsys.readouterr().err
    assert text.startswith("xstilts: network error: ")
    assert text.count("\n") == 1


@pytest.mark.parametrize(
    ("number", "code", "message"),
    [
        (errno.ENOSPC, 3, "the disk is full"),
        (errno.EDQUOT, 3, "quota"),
        (errno.EACCES, 2, "permission denied"),
        (errno.EROFS, 2, "read-only"),
        (errno.ENOTDIR, 2, "a file is in the way"),
        (errno.EIO, 3, os.strerror(errno.EIO)),
    ],
)
def test_an_error_of_the_operating_system_says_what_to_do(
    number: int, code: int, message: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    error = OSError(number, os.strerror(number), "/a/path")
    monkeypatch.setattr("pipelines.plan_file.shipped_plans", raising(error))
    assert main(["plans"]) == code
    text = capsys.readouterr().err
    assert "/a/path: " in text
    assert message in text
    assert "Traceback" not in text


def test_debug_shows_the_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pipelines.plan_file.shipped_plans", raising(OSError(errno.EIO, "x")))
    main(["plans", "--debug"])
    assert "Traceback" in capsys.readouterr().err


def test_a_broken_pipe_ends_quietly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pipelines.commands.plans.say", raising(BrokenPipeError(errno.EPIPE, "")))
    monkeypatch.setattr(cli.failures, "silence_output", lambda: None)
    assert main(["plans"]) == failures.BROKEN_PIPE
    assert capsys.readouterr().err == ""


def test_a_programming_error_is_not_explained_away() -> None:
    assert failures.explained(KeyError("x")) is None
    assert failures.explained(ValueError("x")) is None


def test_the_served_store_says_how_clients_name_it_and_ends_with_ctrl_c(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("signal.pause", interrupted)
    assert main(["store", "serve", "--home", str(tmp_path)]) == 0
    output = capfd.readouterr()
    *exports, last = output.out.splitlines()
    assert all(line.startswith("export AWS_") for line in exports)
    assert last == "# then: --store s3://xstilts/store; Ctrl-C ends the server"
    assert output.err == ""


def test_the_folder_of_a_submission_is_not_its_predictions(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "predictions").mkdir()
    assert main(["validate", str(tmp_path)]) == 2
    assert f"name {tmp_path / 'predictions'}" in capfd.readouterr().err


def test_a_taken_port_is_refused_before_credentials_are_printed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main(["store", "serve", "--port", str(port), "--home", str(tmp_path)]) == 3
    output = capfd.readouterr()
    assert f"127.0.0.1:{port}: Address already in use; choose another --port" in output.err
    assert "AWS_" not in output.out
