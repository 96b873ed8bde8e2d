"""Tables to take away: CSV and LaTeX."""

import csv
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.analysis.sample_report import HOSTILE, sample_report
from xstilts.analysis.effects import effects_table
from xstilts.analysis.latex import latex_text
from xstilts.analysis.paper_tables import write_tables
from xstilts.analysis.scores import results_table
from xstilts.analysis.summary import summarize

DOCUMENT = r"""\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage{booktabs,graphicx}
\begin{document}
%s
\end{document}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    report = sample_report()
    results, effects = results_table(report), effects_table(report)
    write_tables(folder, report, results, effects, summarize(report, results, effects))
    return folder


def test_a_report_has_these_tables(folder: Path) -> None:
    names = {"averages", "contrasts", "effects-llava", "effects-xlm-r"}
    expected = {f"{name}.{kind}" for name in names for kind in ("csv", "tex")} | {"steps.csv"}
    assert {path.name for path in folder.iterdir()} == expected


def test_csv_has_names_as_they_are(folder: Path) -> None:
    with open(folder / "contrasts.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert rows[0]["contrast"] == f"named {HOSTILE}"
    assert {row["backbone"] for row in rows} == {"xlm-r", "llava"}


def test_csv_has_numbers_that_programs_read(folder: Path) -> None:
    with open(folder / "contrasts.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert any(float(row["effect"]) < 0 for row in rows)
    for row in rows:
        low, high = json.loads(row["95% interval"].replace("+", ""))
        assert low <= float(row["effect"]) <= high
    for file in folder.glob("*.csv"):
        assert "−" not in file.read_text()


def test_each_step_has_its_manifest(folder: Path) -> None:
    with open(folder / "steps.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    row = next(row for row in rows if row["kind"] == "finetune")
    assert row["gpu_hours"] == "0.05"
    assert row["manifest"].startswith("steps/finetune/")
    assert row["manifest"].endswith("/manifest.json")


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a_b & 5 %", r"a\_b \& 5 \%"),
        (r"\input{x}", r"\textbackslash{}input\{x\}"),
        ("−1.5 … 中", r"$-$1.5 \dots{} [U+4E2D]"),
        ("two\nlines", "two lines"),
    ],
)
def test_text_is_escaped_for_latex(text: str, escaped: str) -> None:
    assert latex_text(text) == escaped


def test_the_latex_tables_compile(folder: Path, tmp_path: Path) -> None:
    program = shutil.which("pdflatex")
    if program is None:
        pytest.skip("no pdflatex (apt-get install texlive-latex-base texlive-latex-recommended)")
    tables = "\n".join(path.read_text() for path in sorted(folder.glob("*.tex")))
    (tmp_path / "paper.tex").write_text(DOCUMENT % tables)
    command = [
        program,
        "-interaction=nonstopmode",
        "-halt-on-error",
        "-no-shell-escape",
        "paper.tex",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "paper.pdf").stat().st_size > 1000
