"""What a run shows to others while it works: ports, command lines, and where its secrets appear."""

from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

import psutil

#: Secrets that a user's environment may hold, each recognisable wherever it appears.
MARKED = {
    "HF_TOKEN": "hf_marked-8c1f27",
    "XSTILTS_KFP_TOKEN": "kfp-marked-5d90aa",
    "AWS_SESSION_TOKEN_OF_ANOTHER_TOOL": "aws-marked-77be01",
}
#: Secrets that a run draws for itself.
OWN = ("AWS_SECRET_ACCESS_KEY", "RAY_AUTH_TOKEN")


@dataclass
class Exposure:
    """ports: `program address` of every listening socket that was seen. commands: command lines.
    secrets: values of OWN in the environment of its processes.
    """

    ports: set[str] = field(default_factory=set)
    commands: set[str] = field(default_factory=set)
    secrets: set[str] = field(default_factory=set)

    @property
    def reachable(self) -> list[str]:
        """Those ports that other machines can connect to."""
        return sorted(port for port in self.ports if not _loopback(port.rpartition(" ")[2]))


def _loopback(address: str) -> bool:
    host = ip_address(address)
    return (getattr(host, "ipv4_mapped", None) or host).is_loopback


def look(run: int, seen: Exposure) -> None:
    """Adds what a run and the processes that it has started show now. run: its process id."""
    try:
        processes = [process := psutil.Process(run), *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    names = {}
    for process in processes:
        try:
            names[process.pid] = process.name()
            seen.commands.add(" ".join(process.cmdline()))
            secrets = {process.environ().get(name) for name in OWN}
        except psutil.Error:  # it ended meanwhile
            continue
        seen.secrets |= {secret for secret in secrets if secret}
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.pid in names:
            seen.ports.add(f"{names[connection.pid]} {connection.laddr.ip}")


def appearances(secret: str, *folders: Path) -> list[str]:
    """The files below the folders that hold a secret."""
    files = (path for folder in folders for path in folder.rglob("*") if path.is_file())
    return [str(path) for path in files if secret.encode() in path.read_bytes()]
