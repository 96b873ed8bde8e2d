"""The layout of submissions to XTREME and XTREME-R (google-research/xtreme evaluate.py, commit
838c13b).

Predictions and labels are in `<folder>/<task>/test-<language>.<suffix>`. Question answering and
Mewsli-X use JSON, XCOPA one JSON object per line, everything else one label per line (tags: a blank
line after each sentence).
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
    """A task of the official scorer. evaluation: its name in this project."""

    name: str
    evaluation: str
    kind: Kind
    languages: tuple[str, ...]

    def file(self, language: str) -> str:
        """The path of a language's file, relative to the folder of a submission."""
        suffix = {"answers": "json", "rankings": "json", "objects": "jsonl"}.get(self.kind, "tsv")
        return f"{self.name}/test-{language}.{suffix}"


#: Languages that XTREME-R added to evaluations of XTREME.
_LATER = {
    "wikiann": "qu pl uk az lt pa gu ro", "udpos": "lt pl uk wo ro", "tatoeba": "az lt pl uk ro",
    "tatoeba_squad": "az lt pl uk ro", "xquad": "ro",
}  # fmt: skip
#: Recipe set → the benchmark that it follows; other sets follow XTREME-R.
_BENCHMARK_OF = {"phang_2020": "xtreme"}


def benchmark_of(recipes: str) -> str:
    """The benchmark of a recipe set: `xtreme` for phang_2020, else `xtreme-r`."""
    return _BENCHMARK_OF.get(recipes, "xtreme-r")


def official_languages(benchmark: str, evaluation: str) -> tuple[str, ...]:
    """The languages of an evaluation in a benchmark, in the order of the task.

    XTREME has 33 languages of UD-POS, 40 of PAN-X, 36 of Tatoeba and 11 of XQuAD; XTREME-R has 38,
    48, 41 and 12. ValueError for an unknown benchmark, KeyError for an unknown evaluation.
    """
    if benchmark not in BENCHMARKS:
        raise ValueError(f"unknown benchmark {benchmark!r}; allowed: {', '.join(BENCHMARKS)}")
    later = _LATER.get(evaluation, "").split() if benchmark == "xtreme" else []
    return tuple(code for code in TASKS[evaluation].languages if code not in later)


def averaged_languages(benchmark: str, evaluation: str, scored: Iterable[str]) -> list[str]:
    """The scored languages that count in the official average of an evaluation, in order, including
    invented languages. All scored languages if none of them counts, or the evaluation is not
    official.
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


#: Benchmark → official name → task.
TABLES: Mapping[str, Mapping[str, Official]] = {
    benchmark: {row.name: row for row in _rows(benchmark)} for benchmark in BENCHMARKS
}

#: Benchmark → group → its tasks (evaluate.py, XTREME_GROUP2TASK and XTREME_R_GROUP2TASK). XCOPA is
#: in two groups, LAReQA in none.
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
