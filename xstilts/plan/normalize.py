"""Rewrites the short forms that a plan may use into the normalized form that the schema knows.

A value in no known form is reported and dropped. Everything else is left for the schema to check.
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import product
from typing import Any

Problems = list[str]
#: Maximum number of pairs of seeds, far more than any estimate needs.
MOST_SEEDS = 1000
#: Key of a backbone's `build.pretrain` → its spelling in specs. Fingerprints have the spelling of
#: the first version, which plans may use as well.
PRETRAIN_SPELLINGS = {"language_share": "tongue", "language_pull": "together"}


def normalize(raw: Mapping[Any, Any]) -> tuple[dict[str, Any], Problems]:
    """Returns (the normalized plan, problems). Does not change the input."""
    problems: Problems = []
    normalized = {str(key): value for key, value in raw.items()}
    for key, rewrite in _REWRITES.items():
        if key in normalized:
            value = rewrite(normalized.pop(key), problems)
            if value is not None:
                normalized[key] = value
    return normalized, problems


def _seeds(value: Any, problems: Problems) -> Any:
    pairs: Iterable[Any] | None = None
    count = 0
    if isinstance(value, int) and not isinstance(value, bool):
        if value >= 1:
            pairs, count = ([seed, seed] for seed in range(value)), value
    elif isinstance(value, Mapping):
        if set(value) == {"intermediate", "target"} and all(
            isinstance(v, list) and v for v in value.values()
        ):
            first, second = value["intermediate"], value["target"]
            pairs, count = map(list, product(first, second)), len(first) * len(second)
    elif (
        isinstance(value, list)
        and value
        and all(isinstance(pair, list) and len(pair) == 2 for pair in value)
    ):
        pairs, count = value, len(value)
    if count > MOST_SEEDS:
        problems.append(
            f"seeds: {count} pairs of seeds, more than {MOST_SEEDS}; each pair trains and scores "
            "every arm again, so use fewer"
        )
        return None
    if pairs is not None:
        return list(pairs)
    problems.append(
        f"seeds: invalid value {value!r}; allowed: a number of at least 1 (3), "
        "{intermediate: [0], target: [0, 1]}, or pairs [[intermediate, target], …]"
    )
    return None


def _languages(value: Any, problems: Problems, path: str = "languages") -> Any:
    if value == "all":
        return None
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return value
    unquoted = isinstance(value, list) and any(isinstance(item, bool) for item in value)
    hint = " (YAML reads no, yes, on and off as booleans: quote them)" if unquoted else ""
    problems.append(
        f"{path}: invalid value {value!r}; allowed: all, or a list of codes [en, de]{hint}"
    )
    return None


def _evaluations(value: Any, problems: Problems) -> Any:
    if isinstance(value, list):
        if not all(isinstance(item, str) for item in value):
            problems.append(f"evaluations: invalid value {value!r}; a list must contain names only")
            return {item: {} for item in value if isinstance(item, str)} or None
        for name in dict.fromkeys(name for name in value if value.count(name) > 1):
            problems.append(f"evaluations: duplicate name {name!r}; keep one")
        return {name: {} for name in value}
    if not isinstance(value, Mapping):
        return value
    normalized: dict[Any, Any] = {}
    for name, body in value.items():
        normalized[name] = (
            dict(body) if isinstance(body, Mapping) else ({} if body is None else body)
        )
        if isinstance(body, Mapping) and "languages" in body:
            languages = _languages(
                normalized[name].pop("languages"), problems, f"evaluations.{name}.languages"
            )
            if languages is not None:
                normalized[name]["languages"] = languages
    return normalized


def _backbones(value: Any, problems: Problems) -> Any:
    if not isinstance(value, Mapping):
        return value
    shaped: dict[Any, Any] = {}
    for name, body in value.items():
        shaped[name] = dict(body) if isinstance(body, Mapping) else body
        if isinstance(body, Mapping) and isinstance(body.get("tuning"), str):
            shaped[name]["tuning"] = {"mode": body["tuning"]}
        build = body.get("build") if isinstance(body, Mapping) else None
        if isinstance(build, Mapping) and isinstance(build.get("pretrain"), Mapping):
            path = f"backbones.{name}.build.pretrain"
            pretrain = _spelled(build["pretrain"], problems, path)
            shaped[name]["build"] = {**build, "pretrain": pretrain}
    return shaped


def _spelled(pretrain: Mapping[Any, Any], problems: Problems, path: str) -> dict[Any, Any]:
    """The keys of `pretrain` as specs spell them."""
    for name, spelling in PRETRAIN_SPELLINGS.items():
        if name in pretrain and spelling in pretrain:
            problems.append(f"{path}: {name} and {spelling} are the same setting; keep {name}")
    return {PRETRAIN_SPELLINGS.get(key, key): value for key, value in pretrain.items()}


def _arms(value: Any, problems: Problems) -> Any:
    if not isinstance(value, Mapping):
        return value
    # YAML reads `labels: true` as a boolean. It means the true labels.
    bodies = {name: {} if body is None else body for name, body in value.items()}
    return {
        name: {**body, "labels": "true"}
        if isinstance(body, Mapping) and body.get("labels") is True
        else body
        for name, body in bodies.items()
    }


def _rows(value: Any, problems: Problems) -> Any:
    if not isinstance(value, Mapping):
        return value
    tasks = {name: body for name, body in value.items() if isinstance(body, Mapping)}
    return {
        "default": {name: body for name, body in value.items() if name not in tasks},
        "tasks": tasks,
    }


def _splits(value: Any, problems: Problems) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {
        name: {
            role: {"split": choice} if isinstance(choice, str) else choice
            for role, choice in body.items()
        }
        if isinstance(body, Mapping)
        else body
        for name, body in value.items()
    }


_REWRITES: Mapping[str, Callable[[Any, Problems], Any]] = {
    "seeds": _seeds,
    "languages": _languages,
    "evaluations": _evaluations,
    "backbones": _backbones,
    "arms": _arms,
    "rows": _rows,
    "splits": _splits,
}
