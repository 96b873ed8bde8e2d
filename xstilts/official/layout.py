"""The layout of XTREME's and XTREME-R's submissions (google-research/xtreme evaluate.py, commit
838c13b).

`<folder>/<task>/test-<language>.<ending>`, predictions and labels alike. Question answering and
Mewsli-X are JSON, XCOPA a JSON object a line, everything else a label a line (tags: a blank line
after each sentence).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from xstilts.tasks.languages import INVENTED
from xstilts.tasks.registry import TASKS

Kind = Literal["labels", "tags", "answers", "rankings", "pairs", "objects"]
BENCHMARKS = ("xtreme", "xtreme-r")


@dataclass(frozen=True)
class Official:
    """One task as the official scorer knows it. evaluation: our name."""

    name: str
    evaluation: str
    kind: Kind
    languages: tuple[str, ...]

    def file(self, language: str) -> str:
        """Path of a language's file below a submission's folder."""
        ending = {"answers": "json", "rankings": "json", "objects": "jsonl"}.get(self.kind, "tsv")
        return f"{self.name}/test-{language}.{ending}"


#: What XTREME had and XTREME-R added: qu pl uk az lt pa gu ro (PAN-X), lt pl uk wo ro (UD-POS), az
#: lt pl uk ro (Tatoeba), ro (XQuAD).
_LATER = {
    "wikiann": "qu pl uk az lt pa gu ro", "udpos": "lt pl uk wo ro", "tatoeba": "az lt pl uk ro",
    "tatoeba_squad": "az lt pl uk ro", "xquad": "ro",
}  # fmt: skip
#: Recipe set → the benchmark whose scripts or paper it follows. Sets that are not named here follow
#: XTREME-R.
_BENCHMARK_OF = {"phang_2020": "xtreme"}


def benchmark_of(recipes: str) -> str:
    """The benchmark that a plan's recipe set belongs to: `xtreme` for phang_2020, else
    `xtreme-r`.
    """
    return _BENCHMARK_OF.get(recipes, "xtreme-r")


def official_languages(benchmark: str, evaluation: str) -> tuple[str, ...]:
    """The languages of an evaluation in a benchmark, in the task's order. XTREME has 33 of
    UD-POS, 40 of PAN-X, 36 of Tatoeba and 11 of XQuAD, XTREME-R 38, 48, 41 and 12. ValueError
    for an unknown benchmark, KeyError for an unknown evaluation.
    """
    if benchmark not in BENCHMARKS:
        raise ValueError(f"unknown benchmark {benchmark!r}; allowed: {', '.join(BENCHMARKS)}")
    later = _LATER.get(evaluation, "").split() if benchmark == "xtreme" else []
    return tuple(code for code in TASKS[evaluation].languages if code not in later)


def averaged_languages(benchmark: str, evaluation: str, scored: Iterable[str]) -> list[str]:
    """Those of the scored languages that the official average of an evaluation covers, in the
    given order; invented languages as well. A plan that scores none of them, or an evaluation of
    its own, is averaged over everything that it scores.
    """
    languages = list(scored)
    official = (
        (*official_languages(benchmark, evaluation), *INVENTED) if evaluation in TASKS else ()
    )
    return [language for language in languages if language in official] or languages


def _rows(benchmark: str) -> list[Official]:
    def of(name: str, evaluation: str, kind: Kind, languages: tuple[str, ...] = ()) -> Official:
        return Official(
            name, evaluation, kind, languages or official_languages(benchmark, evaluation)
        )

    shared = [
        of("xnli", "xnli", "labels"), of("udpos", "udpos", "tags"),
        of("panx", "wikiann", "tags"), of("xquad", "xquad", "answers"),
        of("mlqa", "mlqa", "answers"), of("tydiqa", "tydiqa", "answers"),
    ]  # fmt: skip
    if benchmark == "xtreme":
        return [
            of("pawsx", "pawsx", "labels"), *shared, of("tatoeba", "tatoeba", "labels"),
            of("bucc2018", "bucc_mining", "pairs"),
        ]  # fmt: skip
    # XTREME-R's own script embeds Tatoeba with the encoder fine-tuned on SQuAD
    # (scripts/run_tatoeba.sh).
    return [
        *shared, of("tatoeba", "tatoeba_squad", "labels"), of("xcopa", "xcopa", "objects"),
        of("lareqa", "lareqa", "rankings"), of("mewslix", "mewslix", "rankings"),
    ]  # fmt: skip


#: benchmark → its tasks by official name.
TABLES: Mapping[str, Mapping[str, Official]] = {
    benchmark: {row.name: row for row in _rows(benchmark)} for benchmark in BENCHMARKS
}

#: benchmark → group → the tasks that its average is over (evaluate.py, XTREME_GROUP2TASK and
#: XTREME_R_GROUP2TASK): XCOPA is in two groups, LAReQA in none.
GROUPS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "xtreme": {
        "classification": ("pawsx", "xnli"),
        "tagging": ("udpos", "panx"),
        "qa": ("xquad", "mlqa", "tydiqa"),
        "retrieval": ("bucc2018", "tatoeba"),
    },
    "xtreme-r": {
        "classification": ("xnli", "xcopa"),
        "tagging": ("udpos", "panx"),
        "qa": ("xquad", "mlqa", "tydiqa"),
        "retrieval": ("tatoeba", "mewslix"),
        "multi_choice": ("xcopa",),
    },
}
