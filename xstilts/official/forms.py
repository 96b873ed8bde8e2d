"""The word form in which a tagging evaluation was scored: some sources split words differently from
the official labels.
"""

from collections.abc import Mapping
from typing import Any

from xstilts.sources.conllu_rows import PATH

OFFICIAL_FORM, HUB_FORM = "official", "hub"
#: Evaluation → the data set with rows in the official form.
FORMS_OF: Mapping[str, str] = {"udpos": PATH}


def forms(expanded: Mapping[str, Any]) -> list[dict[str, str]]:
    """One row {evaluation, language, form} per test set of an expanded plan that exists in several
    forms: `official` (fused forms, as XTREME-R converts treebanks) or `hub` (syntactic words).
    """
    form_of = {}
    for cell in expanded["cells"]:
        for evaluation, fingerprint in cell["scores"].items():
            if evaluation not in FORMS_OF:
                continue
            for role, parent in expanded["steps"][fingerprint]["parents"].items():
                if role.startswith("gold:"):
                    path = expanded["steps"][parent]["spec"]["source"]["path"]
                    form = OFFICIAL_FORM if path == FORMS_OF[evaluation] else HUB_FORM
                    form_of[evaluation, role.removeprefix("gold:")] = form
    return [
        {"evaluation": evaluation, "language": language, "form": form}
        for (evaluation, language), form in form_of.items()
    ]
