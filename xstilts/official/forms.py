"""In which form the words of a tagging evaluation were scored: some sources cut them otherwise
than the official labels.
"""

from collections.abc import Mapping
from typing import Any

from xstilts.sources.conllu_rows import PATH

OFFICIAL_FORM, HUB_FORM = "official", "hub"
#: Evaluation → the data set whose rows have the official form.
FORMS_OF: Mapping[str, str] = {"udpos": PATH}


def forms(expanded: Mapping[str, Any]) -> list[dict[str, str]]:
    """One row {evaluation, language, form} for each test set of a plan's expansion that comes in
    several forms: `official` (fused forms, as XTREME-R converts treebanks) or `hub` (syntactic
    words).
    """
    found = {}
    for cell in expanded["cells"]:
        for evaluation, fingerprint in cell["scores"].items():
            if evaluation not in FORMS_OF:
                continue
            for role, parent in expanded["steps"][fingerprint]["parents"].items():
                if role.startswith("gold:"):
                    path = expanded["steps"][parent]["spec"]["source"]["path"]
                    form = OFFICIAL_FORM if path == FORMS_OF[evaluation] else HUB_FORM
                    found[evaluation, role.removeprefix("gold:")] = form
    return [
        {"evaluation": evaluation, "language": language, "form": form}
        for (evaluation, language), form in found.items()
    ]
