"""Waits for the store and for Kubeflow Pipelines during an outage: a run continues without them."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from pipelines.console import warn
from pipelines.kfp.error_texts import KfpError
from xstilts.errors import StoreError

#: How long a server may be unreachable.
PATIENCE_SECONDS = 600.0
#: Seconds between two attempts.
PAUSE_SECONDS = 5.0

Result = TypeVar("Result")


@dataclass
class Outages:
    """Repeats what an outage interrupts, and says so once for each outage."""

    warn: Callable[[str], None] = warn
    patience: float = field(default_factory=lambda: PATIENCE_SECONDS)
    pause: float = field(default_factory=lambda: PAUSE_SECONDS)
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def outlast(self, action: Callable[[], Result]) -> Result:
        """The result of `action`, which is repeated while a server is unreachable. Raises the last
        error after `patience` seconds, and any other error at once.
        """
        since: float | None = None
        while True:
            try:
                return action()
            except (StoreError, KfpError) as error:
                now = self.clock()
                if not error.temporary or (since is not None and now - since >= self.patience):
                    raise
                if since is None:
                    since = now
                    self.warn(f"{error}; retrying for {self.patience / 60:g} minutes")
                self.sleep(self.pause)
