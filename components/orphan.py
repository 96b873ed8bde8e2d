"""A local step ends when the process that started it is gone: a killed run leaves nothing behind that computes on."""

import os


def end_with_parent() -> None:
    """Local runs only (`XSTILTS_LOCAL` is the run's process): the kernel ends this process when its parent dies."""
    if os.environ.get("XSTILTS_LOCAL"):
        from xstilts.store.server import die_with_parent

        die_with_parent(int(os.environ["XSTILTS_LOCAL"]))
