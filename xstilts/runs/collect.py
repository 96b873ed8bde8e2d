"""Reads a run's finished steps from the store into what the report is made of, and names what is
missing and why.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from xstilts.analysis.cut_contexts import cut_contexts
from xstilts.analysis.inputs import Cell, ReportInput, Scored, metrics_of
from xstilts.analysis.parallel import in_parallel
from xstilts.errors import PlanError, StoreError
from xstilts.store.store import Store
from xstilts.tasks.registry import TASKS


def report_input(store: Store, folder: str) -> ReportInput:
    """Everything that the report of a run says. PlanError when the run was never planned."""
    expanded = store.get_json(f"{folder}/expanded.json")
    if expanded is None:
        raise PlanError(f"{folder}: nothing to report; the plan step has not run")
    run = store.get_json(f"{folder}/run.json") or {}
    done = store.done("score")
    cells, missing = [], []
    metrics: dict[str, Sequence[str]] = {}
    places = {name: place for place, name in enumerate(expanded["order"]["evaluations"])}
    for cell in expanded["cells"]:
        scored: dict[tuple[str, str], Scored] = {}
        for evaluation, fingerprint in sorted(
            cell["scores"].items(), key=lambda one: places[one[0]]
        ):
            step = expanded["steps"][fingerprint]
            metrics.setdefault(evaluation, metrics_of(step["spec"]["metrics"]))
            if fingerprint in done:
                scored.update(_read(store, evaluation, fingerprint, step))
            else:
                missing.append(_missing(store, folder, cell, evaluation, fingerprint))
        if scored:
            keys = ("backbone", "arm", "seed", "seed_intermediate", "seed_target", "trained_target")
            cells.append(Cell(**{key: cell[key] for key in keys}, scored=scored))
    metrics = {name: metrics[name] for name in places if name in metrics}
    mined = [e for e, names in metrics.items() if "bucc_f1" in names]
    cells = in_parallel(on_equal_sentences(cells, mined))
    return ReportInput(
        expanded=expanded,
        cells=cells,
        metrics=metrics,
        missing=missing,
        spent=_spent(store, expanded),
        intermediates=_intermediates(store, folder, expanded, done, missing),
        staged=_staged(store, expanded),
        cut_contexts=cut_contexts(_encoding_info(store), expanded),
        banner=_banner(expanded, str(run.get("mirror", ""))),
        run=folder,
    )


def on_equal_sentences(cells: Sequence[Cell], mined: Sequence[str]) -> list[Cell]:
    """The cells, those of mined pools with the same sentences in each, so that arms can be
    paired by them: of a pool only sentences are kept that have a translation or were given one,
    and other arms were mistaken about others. What a cell lacks it has left alone, rightly.
    """
    every: dict[tuple[str, str], dict[int | str, tuple[str, str]]] = {}
    for cell in cells:
        for key, own in cell.scored.items():
            for scored in (own, own.last) if key[0] in mined else ():
                if scored:
                    named = zip(scored.ids, scored.clusters, strict=True)
                    every.setdefault(key, {}).update(zip(_rows(scored), named, strict=True))
    return [
        replace(
            cell,
            scored={
                key: _on(every[key], own) if key in every else own
                for key, own in cell.scored.items()
            },
        )
        for cell in cells
    ]


def _rows(scored: Scored) -> Sequence[int | str]:
    """What identifies each example: its row, or in results of earlier versions its id."""
    return scored.rows or scored.ids


def _on(sentences: Mapping[int | str, tuple[str, str]], own: Scored) -> Scored:
    """sentences: row → (id, cluster)."""
    told = dict(zip(_rows(own), zip(own.predictions, own.golds, strict=True), strict=True))
    order = sorted(sentences)
    pairs = [told.get(row, ("", [])) for row in order]
    return replace(
        own,
        ids=[sentences[row][0] for row in order],
        clusters=[sentences[row][1] for row in order],
        predictions=[p for p, _ in pairs],
        golds=[g for _, g in pairs],
        rows=[row for row in order if isinstance(row, int)],
        parallel=(),
        last=_on(sentences, own.last) if own.last else None,
        _ratios={},
    )


def _read(
    store: Store, evaluation: str, fingerprint: str, step: Mapping[str, Any]
) -> dict[tuple[str, str], Scored]:
    manifest = store.manifest("score", fingerprint)
    assert manifest is not None  # it was listed as done
    table = pq.read_table(store.file(manifest, "predictions.parquet")).to_pandas()
    splits = step["settings"].get("splits", {})
    asked = {language: _asked(store, step, language) for language in step["spec"]["languages"]}
    found = {
        keys: Scored(
            rows["id"].tolist(),
            _clusters(rows, str(keys[1])),
            [json.loads(text) for text in rows["prediction"]],
            [json.loads(text) for text in rows["gold"]],
            str(splits.get(keys[1], "")),
            language=str(keys[1]),
            asked=asked[str(keys[1])],
            rows=rows["row"].tolist() if "row" in rows else (),
            parallel=_parallel(rows, evaluation),
        )
        for keys, rows in table.groupby(["checkpoint", "language"], sort=False)
    }
    return {
        (evaluation, language): replace(scored, last=found.get(("last", language)))
        for (checkpoint, language), scored in found.items()
        if checkpoint == "selected"
    }


def _clusters(rows: pd.DataFrame, language: str) -> list[str]:
    """The cluster of each example, named apart in each language: `<language>/<cluster>`, or
    `<language>/#<row>` for an example of its own. Results of earlier versions have no rows and
    name such a cluster by the example's id.
    """
    if "row" in rows:
        names = zip(rows["cluster"], rows["row"], strict=True)
        return [f"{language}/{cluster or f'#{row}'}" for cluster, row in names]
    return [f"{language}/{cluster}" for cluster in rows["cluster"]]


def _parallel(rows: pd.DataFrame, evaluation: str) -> list[str]:
    """What each example shares with its translations. In results of earlier versions that is the
    id, where the task has translations at all.
    """
    if "parallel" in rows:
        return list(rows["parallel"])
    task = TASKS.get(evaluation)
    return list(rows["id"]) if task is not None and task.parallel else []


def _asked(store: Store, step: Mapping[str, Any], language: str) -> Sequence[str]:
    """The English sentences of a retrieval's rows: a submission stands in their alphabetical
    order.
    """
    if step["spec"]["format"] != "retrieval":
        return ()
    fingerprint = step["parents"][f"gold:{language}"]
    manifest = store.manifest("records", fingerprint)
    if manifest is None:
        raise StoreError(
            f"the records {fingerprint[:12]} of {step['settings']['label']} are gone; run the plan again"
        )
    texts: list[str] = pq.read_table(
        store.file(manifest, "records.parquet"), columns=["text_pair"]
    )["text_pair"].to_pylist()
    return texts


def _missing(
    store: Store, folder: str, cell: Mapping[str, Any], evaluation: str, fingerprint: str
) -> dict[str, Any]:
    """What is missing and why: the first failure on the cell's way, from its intermediate
    training to its scores.
    """
    from xstilts.runs.folder import failure_key

    for kind, step in [*(("finetune", fp) for fp in cell["chain"]), ("score", fingerprint)]:
        found = store.get_json(failure_key(folder, kind, step))
        if found:
            return {
                "what": f"{cell['id']} on {evaluation}",
                "reason": found["error"],
                "log": found["log"],
            }
    return {"what": f"{cell['id']} on {evaluation}", "reason": "it was not run", "log": ""}


def _spent(store: Store, expanded: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Budgets as used by the intermediate steps: one row a backbone and arm, of its first seed."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for cell in expanded["cells"]:
        key = (cell["backbone"], cell["arm"])
        if cell["seed_intermediate"] is None or key in rows or not cell["chain"]:
            continue
        manifest = store.manifest("finetune", cell["chain"][0])
        if manifest is not None:
            rows[key] = {"backbone": key[0], "arm": key[1], **manifest.info["budget"]}
    return list(rows.values())


def _intermediates(
    store: Store,
    folder: str,
    expanded: Mapping[str, Any],
    done: set[str],
    missing: list[dict[str, Any]],
) -> list[dict[str, Any]]:
    """How well each arm learnt its own tasks: one row a metric, or one with the reason why there
    is none.
    """
    rows = []
    for entry in expanded.get("intermediates", ()):
        head = {key: entry[key] for key in ("backbone", "arm", "seed", "task", "objective")}
        fingerprint = entry["score"]
        if fingerprint is None:
            rows.append({**head, "reason": entry["reason"]})
        elif fingerprint not in done:
            step = expanded["steps"][fingerprint]
            cell = {"id": step["settings"]["label"], "chain": [step["parents"]["model"]]}
            missing.append(_missing(store, folder, cell, entry["task"], fingerprint))
        else:
            scored = _read(store, entry["task"], fingerprint, expanded["steps"][fingerprint])[
                entry["task"], "en"
            ]
            for metric in metrics_of(entry["metrics"]):
                value = {
                    "split": entry["split"],
                    "metric": metric,
                    "value": scored.value(metric),
                    "n": len(scored.ids),
                }
                rows.append({**head, **value})
    return rows


def _staged(store: Store, expanded: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Records with bad rows and encodings with truncated rows or unknown tokens."""
    rows = []
    for fingerprint, step in expanded["steps"].items():
        if step["kind"] not in ("records", "encode"):
            continue
        manifest = store.manifest(step["kind"], fingerprint)
        info = dict(manifest.info) if manifest else {}
        noted = {
            key: info[key] for key in ("bad_rows", "truncated", "unknown_share") if info.get(key)
        }
        if noted:
            rows.append({"what": step["settings"]["label"], **noted})
    return rows


def _banner(expanded: Mapping[str, Any], mirror: str) -> str:
    paths = {identity["path"] for identity in expanded["identities"]}
    built = all(backbone.get("build") for backbone in expanded["plan"]["backbones"].values())
    tiny = (
        " The backbones are tiny and were built for this run; they are not LLaVA, Qwen-VL or XLM-R."
        if built
        else ""
    )
    if "xstilts/miniature-text" in paths:
        return (
            "Generated data, not XTREME-R: an invented world in invented languages (docs/miniature.md)."
            + tiny
        )
    if mirror != "hub":
        return (
            "Rows of a mirror, which may be slices of the official sets; the splits used stand in the results."
            + tiny
        )
    return tiny.strip()


def _encoding_info(store: Store) -> Callable[[str], Mapping[str, Any] | None]:
    """What an encode step counted, by its fingerprint; None where it is not in the store."""

    def info(fingerprint: str) -> Mapping[str, Any] | None:
        manifest = store.manifest("encode", fingerprint)
        return manifest.info if manifest else None

    return info
