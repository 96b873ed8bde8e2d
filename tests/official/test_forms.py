"""The form in which a test set's words were scored."""

import pytest

from xstilts.official.forms import forms


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("universal-dependencies", "official"),
        ("google/xtreme", "hub"),
        ("izhx/xtreme-r-udpos", "hub"),
    ],
)
def test_the_form_is_that_of_the_source(path: str, form: str) -> None:
    expanded = {
        "cells": [{"scores": {"udpos": "s", "xnli": "x"}}],
        "steps": {
            "s": {"parents": {"model": "m", "gold:fr": "g", "test:fr": "e"}}, "x": {"parents": {}},
            "g": {"spec": {"source": {"path": path}}},
        },
    }  # fmt: skip
    assert forms(expanded) == [{"evaluation": "udpos", "language": "fr", "form": form}]
