"""Posts failed runs to a webhook, as JSON with the key `text` that chat services show."""

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Sequence

from pipelines.run_list import RunSummary
from xstilts.errors import InfrastructureError, PlanError, counted

TIMEOUT = 30


def post_failures(url: str, failed: Sequence[RunSummary]) -> None:
    """Posts {"text", "runs"}. The URL is a secret: errors do not show it."""
    if not url.startswith(("https://", "http://")):
        raise PlanError("XSTILTS_WEBHOOK: not an http(s) URL")
    names = "\n".join(f"{run.run}: {counted(run.missing, 'missing cell')}" for run in failed)
    body = {
        "text": f"xstilts: {counted(len(failed), 'run')} failed\n{names}",
        "runs": [run.json() for run in failed],
    }
    try:
        request = urllib.request.Request(
            url, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=TIMEOUT):  # follows HTTPS_PROXY
            pass
    except urllib.error.URLError as error:
        reason = getattr(error, "code", None) or error.reason
        raise InfrastructureError(f"XSTILTS_WEBHOOK: the post failed: {reason}") from error
    except (ValueError, http.client.InvalidURL):
        # The message quotes the URL.
        raise PlanError("XSTILTS_WEBHOOK: not a valid URL; correct it") from None
