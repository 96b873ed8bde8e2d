"""The scripts call xstilts with commands and options that exist."""

import re
import shlex

import pytest

from tests.k8s.manifests import K8S
from tests.pipelines.command_lines import problem

#: Values of the scripts' variables, which make a script's line a line for the parser.
VALUES = {
    '"$XSTILTS"': "xstilts", "$PLAN": "plan.yaml", "$HOST": "http://127.0.0.1:8888", "$STORE": "s3://b/p",
    "$DATA": "hub", "${USERS[@]}": "--namespace=team-a", "${OPTIONS[@]}": "--settings=s.yaml", "$K8S": "k8s", "$MINIATURE": "miniature", "$OUT": "runs/x",
    "${NAME:-NAME}": "kind-1", "$NAMESPACE": "team-a", "$FROM": "hub", "$BUCKET": "b", "$MIRROR": "m", "$REGISTRY": "r.example/x", "$TAG": "v1",
}  # fmt: skip


def _lines() -> list[str]:
    found = set()
    for script in K8S.rglob("*.sh"):
        for call in re.findall(r'"\$XSTILTS" [^|\n)]*', script.read_text()):
            for variable, value in VALUES.items():
                call = call.replace(variable, value)
            found.add(call.strip())
    return sorted(found)


@pytest.mark.parametrize("line", _lines())
def test_a_call_in_a_script_is_valid(line: str) -> None:
    assert "$" not in line
    assert problem(shlex.split(line)[1:]) is None


def test_every_command_in_the_scripts_is_checked() -> None:
    words = {" ".join(line.split()[1:2]) for line in _lines()}
    assert words == {"submit", "report", "mirror", "lock", "doctor"}
