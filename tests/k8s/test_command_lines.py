"""The scripts' calls of xstilts are calls that its command line takes."""

import re
import shlex

import pytest

from pipelines.cli import parser
from tests.k8s.manifests import K8S

#: What the scripts' variables stand for, so that a line of a script is a line for the parser.
VALUES = {
    '"$XSTILTS"': "xstilts", "$PLAN": "plan.yaml", "$HOST": "http://127.0.0.1:8888", "$STORE": "s3://b/p",
    "$DATA": "hub", "${USERS[@]}": "--namespace=team-a", "$K8S": "k8s", "$MINIATURE": "miniature", "$OUT": "runs/x",
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
def test_the_command_line_takes_what_a_script_gives_it(
    line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "$" not in line
    try:
        parser().parse_args(shlex.split(line)[1:])
    except SystemExit:
        pytest.fail(f"{line}: {capsys.readouterr().err}")


def test_every_command_that_the_scripts_use_is_found() -> None:
    words = {" ".join(line.split()[1:2]) for line in _lines()}
    assert words == {"submit", "report", "mirror", "lock", "doctor"}
