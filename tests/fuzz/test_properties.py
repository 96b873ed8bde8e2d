"""Properties of the parsers: any bytes, and valid documents with a change, end in a value or in an
error for users.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.run import NAMES, seeds
from tests.fuzz.targets import TARGETS
from xstilts.errors import XstiltsError
from xstilts.input_files import InvalidDocument, parse_json, parse_yaml
from xstilts.plan.load import load_plan
from xstilts.store.documents import parse
from xstilts.store.manifest import Manifest
from xstilts.tasks.pictures import FORMATS, check_picture

EXAMPLES = settings(max_examples=40, deadline=None)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
PLAN: dict[str, Any] = {
    "name": "p",
    "backbones": {"b": {"hub": "o/m", "family": "llama", "tuning": "lora", "revision": "a" * 40}},
    "arms": {"captions": {"task": "snli"}},
    "evaluations": ["udpos"],
    "languages": ["en"],
    "recipes": "miniature",
    "seeds": {"intermediate": [0], "target": [0]},
    "rows": {"train": 8},
    "budget": {"examples": 8, "updates": 2},
    "resources": {"workers": 1},
}
MANIFEST: dict[str, Any] = {
    "kind": "score",
    "fingerprint": "0" * 64,
    "files": {"a": {"sha256": "0" * 64, "size": 1}},
    "step": {"kind": "score", "version": 1, "spec": {}, "parents": {}, "settings": {}},
    "info": {"rows": 1},
}


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values within a document."""
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [path, *(place for key, part in inner for place in places(part, (*path, key)))]


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(copy[path[0]], path[1:], new)
    return copy


def changed(document: dict[str, Any]) -> st.SearchStrategy[Any]:
    """The document with one value replaced by any other."""
    return st.builds(
        lambda place, new: replaced(document, place, new), st.sampled_from(places(document)), VALUES
    )


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
@EXAMPLES
def test_any_bytes_end_in_a_value_or_a_documented_error(name: str, data: st.DataObject) -> None:
    seed = data.draw(st.sampled_from(seeds(name)))
    cut = data.draw(st.integers(0, len(seed)))
    TARGETS[name](seed[:cut] + data.draw(st.binary(max_size=60)) + seed[cut + 1 :])


def test_every_target_has_an_input_to_begin_with() -> None:
    assert set(TARGETS) == set(NAMES)
    assert all(seeds(name) for name in NAMES)


@pytest.mark.parametrize("seed", seeds("picture"), ids=FORMATS)
def test_the_pictures_to_begin_with_are_accepted(seed: bytes) -> None:
    check_picture(seed)


def message(function: Callable[[], Any]) -> str | None:
    """The message of an error for users, or None without one."""
    try:
        function()
    except XstiltsError as error:
        return str(error)
    return None


@given(document=changed(PLAN))
@EXAMPLES
def test_a_plan_with_any_other_value_loads_or_names_the_problem(document: Any) -> None:
    text = yaml.safe_dump(document) + "\n# a plan\n"
    assert message(lambda: load_plan(text)) != ""


@given(document=changed(MANIFEST))
@EXAMPLES
def test_a_manifest_with_any_other_value_is_read_or_called_corrupt(document: Any) -> None:
    key, data = "steps/score/0/manifest.json", json.dumps(document).encode()
    problem = message(lambda: Manifest.from_json(parse(key, data, key), key))
    assert problem is None or problem.startswith(f"{key}: ")


@given(value=VALUES)
@EXAMPLES
def test_a_json_document_that_json_writes_is_read_back(value: Any) -> None:
    assert parse_json(json.dumps(value)) == value


@given(value=st.dictionaries(TEXT, VALUES, max_size=4))
@EXAMPLES
def test_a_yaml_document_that_yaml_writes_is_read_back(value: Any) -> None:
    text = yaml.safe_dump(value, allow_unicode=True)
    assert parse_yaml(text) == yaml.safe_load(text)  # the writer loses U+0085 in keys


@pytest.mark.parametrize("depth", [99, 100, 101, 200])
def test_the_limit_of_depth_is_that_of_the_reader_not_of_python(depth: int) -> None:
    text = "[" * depth + "]" * depth
    if depth <= 100:
        parse_json(text)
        parse_yaml(text)
        return
    for parser in (parse_json, parse_yaml):
        with pytest.raises(InvalidDocument, match="nested too deeply"):
            parser(text)
