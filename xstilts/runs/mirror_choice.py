"""Which mirror a run reads: the caller's, else the plan's. Writes the miniature on first use."""

from collections.abc import Callable
from pathlib import Path

from xstilts.errors import PlanError
from xstilts.input_files import resolved
from xstilts.miniature.edition import EDITION
from xstilts.new_files import new_folder


def mirror_for(
    mirror: str | None,
    plan_mirror: str | None,
    home: Path,
    say: Callable[[str], None] = lambda text: None,
) -> str:
    """The mirror as `open_mirror` takes it: `hub`, an `s3://` URI, or an absolute folder.

    Args:
        mirror: what the caller asks for (`--mirror`), or None.
        plan_mirror: the plan's own `mirror`.
        home: where `miniature` is written once per edition; other mirrors do not use it.
        say: receives a line before the miniature is written, which takes a minute.
    """
    chosen = mirror or plan_mirror
    if chosen is None:
        raise PlanError(
            "no mirror: set --mirror hub|miniature|DIR|s3://…, or set `mirror:` in the plan"
        )
    if chosen == "hub" or chosen.startswith("s3://"):
        return chosen
    if chosen != "miniature":
        return str(resolved(chosen))
    folder = home / f"miniature-{EDITION}"
    if not folder.is_dir():
        from xstilts.miniature.write import write_miniature

        say(f"generating the miniature in {folder} (about a minute, once)")
        try:
            with new_folder(folder) as part:
                write_miniature(part)
        except PlanError:
            if not folder.is_dir():  # else another run was faster
                raise
    return str(folder)
