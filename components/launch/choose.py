"""The launcher of a step, by XSTILTS_LAUNCHER. Imports neither torch nor ray, which the images of
waiting steps lack.
"""

import os

from components.launch import submit
from xstilts.errors import InfrastructureError
from xstilts.runs.actions import Launch

LAUNCHERS: dict[str, Launch] = {"local": submit.local, "ray": submit.ray, "rayjob": submit.rayjob}


def launcher() -> Launch:
    """The launcher named by XSTILTS_LAUNCHER, `local` by default."""
    name = os.environ.get("XSTILTS_LAUNCHER") or "local"
    if name not in LAUNCHERS:
        raise InfrastructureError(
            f"XSTILTS_LAUNCHER: invalid value {name!r}; allowed: {', '.join(LAUNCHERS)}"
        )
    return LAUNCHERS[name]
