"""What a run shows to others while it works: ports, command lines, what Ray's GCS tells, and where
its secrets appear.
"""

import contextlib
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from socketserver import BaseRequestHandler, TCPServer
from threading import Thread

import psutil

from tests.e2e.outside import impossible, outside, probe
from xstilts.processes import process_environment, process_stat

#: Secrets that a user's environment may hold, each recognisable wherever it appears. The AWS keys
#: are those of the user, where the store is the embedded one.
MARKED = {
    "HF_TOKEN": "hf_marked-8c1f27",
    "XSTILTS_KFP_TOKEN": "kfp-marked-5d90aa",
    "XSTILTS_KFP_COOKIE": "session=cookie-marked-c4417e",
    "AWS_ACCESS_KEY_ID": "AKIAMARKED30F2",
    "AWS_SECRET_ACCESS_KEY": "aws-marked-77be01",
    "AWS_SESSION_TOKEN": "aws-session-marked-e902d1",
}
#: Those of them that no process of a run needs, if its store is the embedded one.
UNUSED = sorted(set(MARKED) - {"HF_TOKEN"})
#: Secrets that a run draws for itself.
OWN = ("AWS_SECRET_ACCESS_KEY", "RAY_AUTH_TOKEN")
#: How long a process may take from fork to exec.
FORK_SECONDS = 1.0


@dataclass(frozen=True)
class Listener:
    """A listening socket."""

    program: str
    address: str
    port: int

    @property
    def loopback(self) -> bool:
        host = ip_address(self.address)
        return (getattr(host, "ipv4_mapped", None) or host).is_loopback


@dataclass
class Exposure:
    """What was seen of a run.

    Args:
        listeners: its listening sockets.
        commands: command lines of its processes.
        secrets: values of OWN in the environment of its processes.
        inherited: `program VARIABLE` where a process's environment holds a secret of UNUSED.
        forks: processes that have not called exec for a while.
        files: a folder with the files that were in its temporary folders.
        modes: permissions of its temporary folders.
        no_namespace: why nothing was tried from outside; None if it was.
        from_outside: port → what happened there when another machine connected.
        control: the same for a server of the test on all addresses.
        from_here: port → what happened there when this machine connected, without a token.
        gcs: what the GCS told a client with the run's token.
        gcs_codes: exit codes of clients without a token.
    """

    files: Path
    listeners: set[Listener] = field(default_factory=set)
    commands: set[str] = field(default_factory=set)
    secrets: set[str] = field(default_factory=set)
    inherited: set[str] = field(default_factory=set)
    forks: set[int] = field(default_factory=set)
    modes: set[str] = field(default_factory=set)
    no_namespace: str | None = None
    from_outside: dict[int, str] = field(default_factory=dict)
    control: str = ""
    from_here: dict[int, str] = field(default_factory=dict)
    gcs: bytes = b""
    gcs_codes: list[int] = field(default_factory=list)

    @property
    def reachable(self) -> list[Listener]:
        """Those sockets that other machines can connect to."""
        return sorted((one for one in self.listeners if not one.loopback), key=str)


def look(roots: Iterable[int], seen: Exposure) -> set[Listener]:
    """Adds what processes and those that they have started show now. Returns their sockets."""
    names = {}
    for process in _processes(roots):
        try:
            names[process.pid] = process.name()
            seen.commands.add(" ".join(process.cmdline()))
            environment = _environment(process.pid, seen.forks)
        except psutil.Error:  # it ended meanwhile
            continue
        if process.pid not in roots:  # whose environment is the user's
            seen.secrets |= {environment[name] for name in OWN if environment.get(name)}
            seen.inherited |= {
                f"{names[process.pid]} {name}"
                for name in UNUSED
                if MARKED[name] in environment.values()
            }
    now = {
        Listener(name, *sockets[inode])
        for process, name in names.items()
        for sockets in [_sockets(process)]
        for inode in _inodes(process) & sockets.keys()
    }
    seen.listeners |= now
    return now


def _environment(process: int, forks: set[int]) -> dict[str, str]:
    """That of a new fork after its exec: until then it is a copy of its parent's. A fork that does
    not call exec keeps the copy, and is waited for once.
    """
    deadline = time.monotonic() + FORK_SECONDS
    while process not in forks and (stat := process_stat(process)) and stat.size and stat.is_fork:
        if time.monotonic() > deadline:
            forks.add(process)
        time.sleep(0.002)
    pairs = (os.fsdecode(pair).partition("=") for pair in process_environment(process))
    return {name: value for name, _, value in pairs}


def _sockets(process: int) -> dict[str, tuple[str, int]]:
    """Inode → address and port of every listening TCP socket in the network of a process."""
    sockets = {}
    for table in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/{process}/net/{table}").read_text().splitlines()[1:]
        except OSError:  # it ended meanwhile
            continue
        for fields in map(str.split, lines):
            if fields[3] == "0A":  # TCP_LISTEN
                host, port = fields[1].split(":")
                words = [bytes.fromhex(host[at : at + 8])[::-1] for at in range(0, len(host), 8)]
                sockets[fields[9]] = str(ip_address(b"".join(words))), int(port, 16)
    return sockets


def _inodes(process: int) -> set[str]:
    """The sockets that a process has open."""
    found = set()
    with contextlib.suppress(OSError):
        for link in Path(f"/proc/{process}/fd").iterdir():
            with contextlib.suppress(OSError):
                target = os.readlink(link)
                if target.startswith("socket:["):
                    found.add(target[8:-1])
    return found


def _processes(roots: Iterable[int]) -> Iterator[psutil.Process]:
    for root in roots:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(root)
            yield process
            yield from process.children(recursive=True)


def keep(temporary: Path, seen: Exposure) -> None:
    """Keeps the files of a temporary folder: as they will be at the end where they can be linked,
    and else as they are now. Notes the permissions of the folders in it.
    """
    for folder, _, names in os.walk(temporary):
        for name in names:
            source, target = Path(folder, name), seen.files / Path(folder, name).relative_to("/")
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                if not target.exists() and stat.S_ISREG(source.lstat().st_mode):
                    target.parent.mkdir(parents=True, exist_ok=True)
                    try:
                        os.link(source, target)
                    except OSError:
                        shutil.copyfile(source, target)
    for folder in temporary.iterdir():
        with contextlib.suppress(FileNotFoundError):
            seen.modes.add(f"{stat.S_IMODE(folder.lstat().st_mode):04o}")


def knock(now: set[Listener], seen: Exposure) -> None:
    """Connects to these sockets without a token, from here and from another machine."""
    ports = [one.port for one in now]
    seen.from_here |= probe("127.0.0.1", ports)
    seen.no_namespace = impossible()
    if not seen.no_namespace:
        with outside() as other, _open_server() as port:
            answers = other.probe([*ports, port])
            seen.control = answers.pop(port)
            seen.from_outside |= answers


@contextlib.contextmanager
def _open_server() -> Iterator[int]:
    """A server on all addresses, as Ray's agents are by default."""
    with TCPServer(("0.0.0.0", 0), BaseRequestHandler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


def ask_gcs(address: str, token: str | None, machine: str | None = None) -> tuple[int, bytes]:
    """Returns the exit code of a client of the GCS, and what the GCS told it."""
    inside = ["ip", "netns", "exec", machine] if machine else []
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    environment |= {"RAY_AUTH_TOKEN": token} if token else {}
    client = subprocess.run(
        [*inside, sys.executable, "-m", "tests.e2e.gcs_answers", address],
        env=environment, stdout=subprocess.PIPE, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    return client.returncode, client.stdout


def appearances(secret: str, *folders: Path) -> list[str]:
    """The files below the folders that hold a secret."""
    files = (path for folder in folders for path in folder.rglob("*") if path.is_file())
    return [str(path) for path in files if secret.encode() in path.read_bytes()]
