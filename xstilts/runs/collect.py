"""Reads a run's finished steps from the store into the input of the report, with what is missing
and why.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from xstilts import __version__
from xstilts.analysis.cut_contexts import cut_contexts
from xstilts.analysis.inputs import Cell, Lazy, ReportInput, Scored, metrics_of
from xstilts.analysis.parallel import in_parallel
from xstilts.errors import PlanError
from xstilts.runs.folder import failure_key, stored_expansion
from xstilts.runs.recorded_steps import step_records
from xstilts.runs.step_counts import EXAMPLES, Counted, Examples, read_examples, stored, texts
from xstilts.runs.stored_predictions import queries
from xstilts.store.manifest import Manifest
from xstilts.store.store import Store
from xstilts.tasks.registry import TASKS

#: What identifies a score of an arm on its own task: `translated` only if it was trained in
#: translations, the last two only after a target.
INTERMEDIATE = (
    "backbone", "arm", "seed", "task", "objective", "translated", "target", "seed_target"
)  # fmt: skip


def report_input(store: Store, folder: str) -> ReportInput:
    """The input of a run's report.

    Raises:
        PlanError: the run's plan step has not run.
    """
    expanded = stored_expansion(store, folder)
    if expanded is None:
        raise PlanError(f"{folder}: no report yet, because the plan step has not run")
    run = store.get_json(f"{folder}/run.json") or {}
    manifests = _manifests(store, expanded)
    cells, missing = [], []
    reader = Reader(store, manifests)
    metrics: dict[str, Sequence[str]] = {}
    order = {name: place for place, name in enumerate(expanded["order"]["evaluations"])}
    for cell in expanded["cells"]:
        scored: dict[tuple[str, str], Scored] = {}
        for evaluation in sorted(cell["scores"], key=order.__getitem__):
            fingerprint = cell["scores"][evaluation]
            step = expanded["steps"][fingerprint]
            metrics.setdefault(evaluation, metrics_of(step["spec"]["metrics"]))
            if fingerprint in manifests:
                scored.update(reader.read(evaluation, fingerprint, step))
            else:
                missing.append(_missing(store, folder, cell, evaluation, fingerprint))
        if scored:
            keys = ("backbone", "arm", "seed", "seed_intermediate", "seed_target", "trained_target")
            steps = {name: cell["scores"][name] for name in dict.fromkeys(n for n, _ in scored)}
            cells.append(Cell(**{key: cell[key] for key in keys}, scored=scored, steps=steps))
    metrics = {name: metrics[name] for name in order if name in metrics}
    mining = [name for name, names in metrics.items() if "bucc_f1" in names]
    cells = in_parallel(on_equal_sentences(cells, mining))
    return ReportInput(
        expanded=expanded,
        cells=cells,
        metrics=metrics,
        missing=missing,
        spent=_spent(manifests, expanded),
        intermediates=_intermediates(reader, folder, expanded, missing),
        staged=_staged(manifests, expanded),
        cut_contexts=cut_contexts(lambda encoding: _info(manifests, encoding), expanded),
        banner=_banner(expanded, str(run.get("mirror", ""))),
        run=folder,
        provenance=_provenance(store, folder, run, expanded),
        steps=step_records(store, expanded, manifests),
    )


def _manifests(store: Store, expanded: Mapping[str, Any]) -> dict[str, Manifest]:
    """Fingerprint → manifest of each finished step of a run. A report needs most of them several
    times.
    """
    steps = [(step["kind"], fingerprint) for fingerprint, step in expanded["steps"].items()]
    read = zip(steps, store.manifests(steps), strict=True)
    return {fingerprint: manifest for (_, fingerprint), manifest in read if manifest is not None}


def on_equal_sentences(cells: Sequence[Cell], mining: Sequence[str]) -> list[Cell]:
    """The cells with the same sentences of mined pools in each, so that arms can be paired.

    Score steps store only the sentences of a pool that have a gold or a predicted translation, and
    the arms' false positives differ. If a cell lacks a sentence, it correctly predicted none.
    """
    every: dict[tuple[str, str], dict[int | str, tuple[str, str]]] = {}
    for cell in cells:
        for key, selected in cell.scored.items():
            for scored in (selected, selected.last) if key[0] in mining else ():
                if scored:
                    names = zip(scored.ids, scored.clusters, strict=True)
                    every.setdefault(key, {}).update(zip(_rows(scored), names, strict=True))
    return [
        replace(
            cell,
            scored={
                key: _on(every[key], scored) if key in every else scored
                for key, scored in cell.scored.items()
            },
        )
        for cell in cells
    ]


def _rows(scored: Scored) -> Sequence[int | str]:
    """The identity of each example: its row, or its id in results of earlier versions."""
    return scored.rows or scored.ids


def _on(sentences: Mapping[int | str, tuple[str, str]], scored: Scored) -> Scored:
    """The predictions for these sentences, row → (id, cluster)."""
    place = {row: number for number, row in enumerate(_rows(scored))}
    order = sorted(sentences)
    places = [place.get(row, -1) for row in order]

    def texts(sequence: Sequence[Any], otherwise: Any) -> Lazy:
        def read() -> list[Any]:
            every = list(sequence)
            return [otherwise if number < 0 else every[number] for number in places]

        return Lazy(len(places), read)

    stored = scored.counts

    def counts(metric: str) -> npt.NDArray[Any]:
        assert stored is not None
        every = stored(metric)
        nothing = np.zeros((1, every.shape[1]), every.dtype)
        return np.concatenate([every, nothing])[places]  # -1 is the last row

    return replace(
        scored,
        ids=[sentences[row][0] for row in order],
        clusters=[sentences[row][1] for row in order],
        predictions=texts(scored.predictions, ""),
        golds=texts(scored.golds, []),
        rows=[row for row in order if isinstance(row, int)],
        parallel=(),
        last=_on(sentences, scored.last) if scored.last else None,
        counts=counts if stored else None,
        _ratios={},
        _values={},
    )


class Reader:
    """Reads the scores of steps. Cells that were scored on the same examples share them."""

    def __init__(self, store: Store, manifests: Mapping[str, Manifest]) -> None:
        """manifests: of the run's finished steps, by fingerprint."""
        self.store, self.manifests = store, manifests
        self._examples: dict[str, dict[str, Examples]] = {}

    def read(
        self, evaluation: str, fingerprint: str, step: Mapping[str, Any]
    ) -> dict[tuple[str, str], Scored]:
        """The scores of a finished score step: (evaluation, language) → Scored. Its texts are read
        when they are used.
        """
        manifest, counted = stored(self.store, self.manifests[fingerprint], step["spec"]["metrics"])
        examples = self._examples_of(manifest, evaluation)
        scores = {
            key: self._scored(manifest, counted, examples, step, key) for key in counted.places
        }
        return {
            (evaluation, language): replace(scored, last=scores.get(("last", language)))
            for (checkpoint, language), scored in scores.items()
            if checkpoint == "selected"
        }

    def _examples_of(self, manifest: Manifest, evaluation: str) -> dict[str, Examples]:
        sha256 = manifest.files[EXAMPLES].sha256
        if sha256 not in self._examples:
            task = TASKS.get(evaluation)
            by_id = task is not None and bool(task.parallel)
            path = self.store.blob_path(sha256)
            self._examples[sha256] = read_examples(path, by_id)
        return self._examples[sha256]

    def _scored(
        self,
        manifest: Manifest,
        counted: Counted,
        examples: Mapping[str, Examples],
        step: Mapping[str, Any],
        key: tuple[str, str],
    ) -> Scored:
        """The scores of one checkpoint and language.

        Args:
            manifest: of the score step.
            counted: its counts.
            examples: its examples, by language.
            step: the step as JSON.
            key: (checkpoint, language).
        """
        language = key[1]
        these, (_, count) = examples[language], counted.places[key]

        def side(name: str) -> Lazy:
            return Lazy(
                count,
                lambda: texts(
                    self.store.file(manifest, "predictions.parquet"), counted.places[key], name
                ),
            )

        asked: Sequence[str] = ()
        if step["spec"]["format"] == "retrieval":
            asked = Lazy(count, lambda: queries(self.store, step, language))
        return Scored(
            these.ids,
            these.clusters,
            side("prediction"),
            side("gold"),
            str(step["settings"].get("splits", {}).get(language, "")),
            language=language,
            asked=asked,
            rows=these.rows,
            parallel=these.parallel,
            counts=partial(counted.of, key),
            corpus=counted.corpus[key],
        )


def _missing(
    store: Store, folder: str, cell: Mapping[str, Any], evaluation: str, fingerprint: str
) -> dict[str, Any]:
    """What is missing and why: the cell's first failure, from intermediate training to score."""
    what = f"{cell['id']} on {evaluation}"
    for kind, step in [*(("finetune", fp) for fp in cell["chain"]), ("score", fingerprint)]:
        record = store.get_json(failure_key(folder, kind, step))
        if record:
            return {"what": what, "reason": record["error"], "log": record["log"]}
    cancelled = store.get_json(f"{folder}/cancelled.json") is not None
    reason = "cancelled before it ran" if cancelled else "not run"
    return {"what": what, "reason": reason, "log": ""}


def _spent(manifests: Mapping[str, Manifest], expanded: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The budgets that intermediate steps used: one row per backbone and arm, first seed."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for cell in expanded["cells"]:
        key = (cell["backbone"], cell["arm"])
        if cell["seed_intermediate"] is None or key in rows or not cell["chain"]:
            continue
        manifest = manifests.get(cell["chain"][0])
        if manifest is not None:
            rows[key] = {"backbone": key[0], "arm": key[1], **manifest.fact("budget")}
    return list(rows.values())


def _intermediates(
    reader: Reader,
    folder: str,
    expanded: Mapping[str, Any],
    missing: list[dict[str, Any]],
) -> list[dict[str, Any]]:
    """The arms' scores on their own intermediate tasks: one row per metric, or one row with the
    reason why there is none. Appends scores that do not exist to `missing`.

    Args:
        reader: of the run's store.
        folder: key prefix of the run's folder.
        expanded: the plan's expansion as JSON.
        missing: the report's list of missing scores.
    """
    rows = []
    for entry in expanded.get("intermediates", ()):
        head = {key: entry[key] for key in INTERMEDIATE if key in entry}
        fingerprint = entry["score"]
        if fingerprint is None:
            rows.append({**head, "reason": entry["reason"]})
        elif fingerprint not in reader.manifests:
            step = expanded["steps"][fingerprint]
            chain = [
                step["parents"][role] for role in ("heads", "model") if role in step["parents"]
            ]
            cell = {"id": step["settings"]["label"], "chain": chain}
            missing.append(_missing(reader.store, folder, cell, entry["task"], fingerprint))
        else:
            scored = reader.read(entry["task"], fingerprint, expanded["steps"][fingerprint])[
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


def _staged(manifests: Mapping[str, Manifest], expanded: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Records with bad rows and encodings with truncated rows or unknown tokens."""
    rows = []
    for fingerprint, step in expanded["steps"].items():
        if step["kind"] not in ("records", "encode"):
            continue
        info = _info(manifests, fingerprint) or {}
        counts = {
            key: info[key] for key in ("bad_rows", "truncated", "unknown_share") if info.get(key)
        }
        if counts:
            rows.append({"what": step["settings"]["label"], **counts})
    return rows


def _banner(expanded: Mapping[str, Any], mirror: str) -> str:
    """What a reader must know before the first number; empty for official data and models."""
    paths = {identity["path"] for identity in expanded["identities"]}
    backbones = expanded["plan"]["backbones"]
    built = [name for name, backbone in backbones.items() if backbone.get("build")]
    tiny = ""
    if built:
        names = "" if len(built) == len(backbones) else f" {', '.join(built)}"
        tiny = (
            f" The backbones{names} are tiny models built for this run, not LLaVA, Qwen-VL or "
            "XLM-R."
        )
    if "xstilts/miniature-text" in paths:
        return (
            "Generated data, not XTREME-R: an invented world in invented languages "
            "(docs/miniature.md)." + tiny
        )
    if mirror != "hub":
        return (
            "The data comes from a mirror and may be a part of the official data sets; the results "
            "name the splits." + tiny
        )
    return tiny.strip()


def _provenance(
    store: Store, folder: str, run: Mapping[str, Any], expanded: Mapping[str, Any]
) -> dict[str, Any]:
    """Where the report's numbers come from, and the command that computes them again.

    Args:
        store: the run's store.
        folder: key prefix of the run's folder.
        run: run.json.
        expanded: the plan's expansion as JSON.
    """
    name, mirror = folder.rpartition("/")[2], str(run.get("mirror", ""))
    text = store.get_bytes_at(f"{folder}/plan.yaml")
    created = run.get("created")
    return {
        "run": name,
        "store": store.uri,
        "created": None
        if created is None
        else datetime.fromtimestamp(created, UTC).isoformat(timespec="seconds"),
        "mirror": mirror,
        "schedule": run.get("schedule"),
        "xstilts": __version__,
        "environment": expanded.get("environment", {}),
        "images": _images(run.get("images") or {}),
        "sources": expanded["identities"],
        "plan": None if text is None else text.decode(),
        "command": f"xstilts run plan.yaml --mirror {mirror} --out runs/{expanded['name']}",
    }


def _images(images: Mapping[str, str]) -> list[dict[str, Any]]:
    """The distinct images of a run with the components that used them; none of a run without
    containers.
    """
    users: dict[str, list[str]] = {}
    for component, image in images.items():
        users.setdefault(image, []).append(component)
    return [{"image": image, "components": names} for image, names in users.items()]


def _info(manifests: Mapping[str, Manifest], fingerprint: str) -> Mapping[str, Any] | None:
    """What a step counted, None if it is not finished."""
    return manifests[fingerprint].info if fingerprint in manifests else None
