"""Which launcher a step uses: XSTILTS_LAUNCHER. Imports neither torch nor ray; a step that only
waits has neither.
"""

import os

from components.launch import submit
from xstilts.errors import InfrastructureError
from xstilts.runs.actions import Launch

LAUNCHERS: dict[str, Launch] = {"local": submit.local, "ray": submit.ray, "rayjob": submit.rayjob}


def launcher() -> Launch:
    """The launcher that XSTILTS_LAUNCHER names; `local` without it."""
    name = os.environ.get("XSTILTS_LAUNCHER") or "local"
    if name not in LAUNCHERS:
        raise InfrastructureError(f"XSTILTS_LAUNCHER is {name!r}; allowed: {', '.join(LAUNCHERS)}")
    return LAUNCHERS[name]
