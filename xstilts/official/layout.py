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
    """One task as the official scorer knows it. evaluation: our name; group: of its table of averages."""

    name: str
    evaluation: str
    kind: Kind
    group: str
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
    def of(name: str, evaluation: str, kind: Kind, group: str, languages: tuple[str, ...] = ()) -> Official:
        own = languages or TASKS[evaluation].languages
        if benchmark == "xtreme":
            own = tuple(code for code in own if code not in _LATER.get(evaluation, "").split())
        return Official(name, evaluation, kind, group, own)

    shared = [
        of("xnli", "xnli", "labels", "classification"), of("udpos", "udpos", "tags", "tagging"),
        of("panx", "wikiann", "tags", "tagging"), of("xquad", "xquad", "answers", "qa"),
        of("mlqa", "mlqa", "answers", "qa"), of("tydiqa", "tydiqa", "answers", "qa"),
    ]  # fmt: skip
    if benchmark == "xtreme":
        return [
            of("pawsx", "pawsx", "labels", "classification"), *shared, of("tatoeba", "tatoeba", "labels", "retrieval"),
            of("bucc2018", "bucc_mining", "pairs", "retrieval"),
        ]  # fmt: skip
    # XTREME-R's own script embeds Tatoeba with the encoder fine-tuned on SQuAD (scripts/run_tatoeba.sh).
    return [
        *shared, of("tatoeba", "tatoeba_squad", "labels", "retrieval"), of("xcopa", "xcopa", "objects", "classification"),
        of("lareqa", "lareqa", "rankings", "retrieval", LAREQA_LANGUAGES),
        of("mewslix", "mewslix", "rankings", "retrieval", MEWSLIX_LANGUAGES),
    ]  # fmt: skip


#: benchmark → its tasks by official name.
TABLES: Mapping[str, Mapping[str, Official]] = {
    benchmark: {row.name: row for row in _rows(benchmark)} for benchmark in BENCHMARKS
}
