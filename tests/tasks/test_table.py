"""The docs' table of tasks is the registry's."""

from pathlib import Path

from xstilts.tasks.table import page


def test_the_table_in_the_docs_is_generated_from_the_registry() -> None:
    assert (Path(__file__).parents[2] / "docs" / "tasks.md").read_text() == page()
