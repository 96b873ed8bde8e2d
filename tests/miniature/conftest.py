"""Fixtures of xstilts.models that the tiny backbones here share."""

from tests.models.conftest import folder, picture, texts

__all__ = ["folder", "picture", "texts"]
