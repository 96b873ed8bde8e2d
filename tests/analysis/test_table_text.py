"""Tables for other programs."""

import csv
import io
import json

import pandas as pd

from xstilts.analysis.scores import averages_table
from xstilts.analysis.table_text import FORMATS

TABLE = pd.DataFrame({"arm": ["a_b & 5 %", "x|y"], "score": [70.123456789012345, None]})


def test_csv_has_all_digits_and_empty_cells() -> None:
    rows = list(csv.DictReader(io.StringIO(FORMATS["csv"](TABLE))))
    assert [float(rows[0]["score"]), rows[1]["score"]] == [70.123456789012345, ""]


def test_json_is_a_list_of_objects() -> None:
    rows = json.loads(FORMATS["json"](TABLE))
    assert [row["arm"] for row in rows] == ["a_b & 5 %", "x|y"]
    assert abs(rows[0]["score"] - 70.123456789012345) < 1e-12
    assert rows[1]["score"] is None


def test_markdown_has_one_digit_and_escapes_bars() -> None:
    assert FORMATS["md"](TABLE).splitlines() == [
        "| arm | score |", "|---|---|", "| a_b & 5 % | 70.1 |", r"| x\|y |  |",
    ]  # fmt: skip


def test_latex_escapes_special_characters_and_aligns_numbers() -> None:
    lines = FORMATS["latex"](TABLE).splitlines()
    assert lines[0] == r"\begin{tabular}{lr}"
    assert r"a\_b \& 5 \% & 70.1 \\" in lines


def test_averages_are_over_seeds_in_the_official_metric() -> None:
    rows = [
        {"backbone": "b", "arm": "x", "evaluation": "udpos", "metric": metric, "language": language, "checkpoint": checkpoint,
         "value": value}
        for metric in ("udpos_f1", "token_accuracy")
        for language, checkpoint, value in (
            ("avg", "selected", 60.0), ("avg", "selected", 64.0), ("avg", "last", 1.0), ("de", "selected", 2.0),
        )
    ]  # fmt: skip
    (row,) = averages_table(pd.DataFrame(rows)).to_dict("records")
    assert (row["metric"], row["score"], row["standard_error"], row["cells"]) == (
        "udpos_f1",
        62.0,
        2.0,
        2,
    )
