"""The licences of locked packages."""

import pytest

from requirements.licences import HERE, LOCKS, identifiers, licence_of, locked, problems


def test_every_locked_package_has_an_allowed_licence() -> None:
    packages = {name for lock in LOCKS for name in locked((HERE / lock).read_text())}
    assert list(problems(sorted(packages))) == []


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("MIT", ["MIT"]),
        ("Apache-2.0 AND (MIT OR BSD-3-Clause)", ["Apache-2.0 ", "MIT", "BSD-3-Clause"]),
        ("Apache-2.0 WITH LLVM-exception AND MIT", ["Apache-2.0", "MIT"]),
    ],
)
def test_all_licences_of_an_expression_count(expression: str, expected: list[str]) -> None:
    assert [name.strip() for name in identifiers(expression)] == [name.strip() for name in expected]


def test_a_package_with_another_licence_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("requirements.licences.licence_of", lambda package: "GPL-3.0-only OR MIT")
    assert list(problems(["a"])) == ["a: 'GPL-3.0-only' is not among the allowed licences"]


def test_a_package_without_a_licence_is_named() -> None:
    assert licence_of("not-installed-at-all") == ""
    assert list(problems(["not-installed-at-all"])) == [
        "not-installed-at-all: states no licence; read it and add it to ELSEWHERE"
    ]
