"""The layout of XTREME's and XTREME-R's submissions (google-research/xtreme evaluate.py, commit 838c13b).

`<folder>/<task>/test-<language>.<ending>`, predictions and labels alike. Question answering and Mewsli-X are JSON, XCOPA a
JSON object a line, everything else a label a line (tags: a blank line after each sentence).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from xstilts.tasks.ranking import LAREQA_LANGUAGES, MEWSLIX_LANGUAGES
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


#: What XTREME had and XTREME-R added: qu pl uk az lt pa gu ro (PAN-X), lt pl uk wo ro (UD-POS), az lt pl uk ro (Tatoeba),
#: ro (XQuAD).
_LATER = {
    "wikiann": "qu pl uk az lt pa gu ro", "udpos": "lt pl uk wo ro", "tatoeba": "az lt pl uk ro", "xquad": "ro",
}  # fmt: skip


def _rows(benchmark: str) -> list[Official]:
    def of(name: str, evaluation: str, kind: Kind, languages: tuple[str, ...] = ()) -> Official:
        own = languages or TASKS[evaluation].languages
        if benchmark == "xtreme":
            own = tuple(code for code in own if code not in _LATER.get(evaluation, "").split())
        return Official(name, evaluation, kind, own)

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
    # XTREME-R's own script embeds Tatoeba with the encoder fine-tuned on SQuAD (scripts/run_tatoeba.sh).
    return [
        *shared, of("tatoeba", "tatoeba_squad", "labels"), of("xcopa", "xcopa", "objects"),
        of("lareqa", "lareqa", "rankings", LAREQA_LANGUAGES),
        of("mewslix", "mewslix", "rankings", MEWSLIX_LANGUAGES),
    ]  # fmt: skip


#: benchmark → its tasks by official name.
TABLES: Mapping[str, Mapping[str, Official]] = {
    benchmark: {row.name: row for row in _rows(benchmark)} for benchmark in BENCHMARKS
}

#: benchmark → group → the tasks that its average is over (evaluate.py, XTREME_GROUP2TASK and XTREME_R_GROUP2TASK): XCOPA is in
#: two groups, LAReQA in none.
GROUPS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "xtreme": {
        "classification": ("pawsx", "xnli"), "tagging": ("udpos", "panx"), "qa": ("xquad", "mlqa", "tydiqa"),
        "retrieval": ("bucc2018", "tatoeba"),
    },
    "xtreme-r": {
        "classification": ("xnli", "xcopa"), "tagging": ("udpos", "panx"), "qa": ("xquad", "mlqa", "tydiqa"),
        "retrieval": ("tatoeba", "mewslix"), "multi_choice": ("xcopa",),
    },
}  # fmt: skip
