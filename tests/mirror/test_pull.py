"""`mirror pull` copies exactly what a plan needs, from a fake hub with faults on demand."""

import io
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.mirror.fake_hub import FakeHub, clear_caches, connected
from xstilts.errors import DataError, InfrastructureError, PlanError
from xstilts.miniature.write import Sizes, write_miniature
from xstilts.mirror.licences import card_licence, licence_rows, restriction
from xstilts.mirror.pull import PullResult, pull
from xstilts.mirror.target import FolderTarget, open_target
from xstilts.mirror.verify import remove_corrupt, verify
from xstilts.plan.expand import expand
from xstilts.plan.expansion import Expansion
from xstilts.plan.load import load_plan
from xstilts.runs import stage
from xstilts.sources import hub as hub_module
from xstilts.sources.loader import load_rows
from xstilts.sources.mirrors import model_folder, open_mirror
from xstilts.sources.provenance import RECORD
from xstilts.tasks.registry import TASKS

ROOT = Path(__file__).resolve().parents[2]
PLAN = """
name: pulled
recipes: miniature
backbones:
  small: {hub: org/small, family: xlm_r, tuning: full}
arms:
  commonsense: {task: commonsense_qa, objective: head}
evaluations: [xquad]
languages: [en, de]
"""


def parquet(rows: list[dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out)
    return out.getvalue()


def span(number: int, word: str = "cat") -> dict[str, Any]:
    answers = {"text": [word], "answer_start": [4]}
    return {
        "id": str(number),
        "title": "",
        "context": f"the {word} sat",
        "question": "who?",
        "answers": answers,
    }


def choice(number: int) -> dict[str, Any]:
    choices = {"label": ["A", "B"], "text": ["yes", "no"]}
    return {"id": str(number), "question": "is it?", "choices": choices, "answerKey": "A"}


def squad(word: str = "cat") -> dict[str, bytes]:
    configs = "".join(
        f"  - split: {split}\n    path: plain_text/{split}-*\n" for split in ("train", "validation")
    )
    card = f"---\nlicense: cc-by-4.0\nconfigs:\n- config_name: plain_text\n  data_files:\n{configs}---\n# SQuAD\n"
    return {
        "README.md": card.encode(),
        "plain_text/train-00000-of-00002.parquet": parquet([span(i, word) for i in range(40)]),
        "plain_text/train-00001-of-00002.parquet": parquet([span(i, word) for i in range(40, 60)]),
        "plain_text/validation-00000-of-00001.parquet": parquet([span(i, word) for i in range(9)]),
        ".gitattributes": b"",
    }


def xquad() -> dict[str, bytes]:
    configs = "".join(
        f"- config_name: xquad.{code}\n  data_files:\n  - split: validation\n    path: xquad.{code}/validation-*\n"
        for code in ("ar", "de", "en")
    )
    files = {
        f"xquad.{code}/validation-00000-of-00001.parquet": parquet([span(i) for i in range(5)])
        for code in ("ar", "de", "en")
    }
    return {"README.md": f"---\nlicense: cc-by-nc-4.0\nconfigs:\n{configs}---\n".encode(), **files}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    """A hub with three data sets, each in another layout, and a model."""

    hub = FakeHub()
    hub.add("datasets/rajpurkar/squad", squad())
    hub.add("datasets/google/xquad", xquad())
    hub.add(
        "datasets/tau/commonsense_qa",
        {
            "data/train.jsonl": b"".join(f"{_json(choice(i))}\n".encode() for i in range(30)),
            "data/validation.jsonl": b"".join(f"{_json(choice(i))}\n".encode() for i in range(9)),
        },
    )
    model = {
        "config.json": b'{"model_type": "xlm-roberta"}',
        "model.safetensors": b"w" * 999,
        "tokenizer.json": b"{}",
    }
    hub.add(
        "models/org/small",
        {**model, "pytorch_model.bin": b"b" * 999, "onnx/model.onnx": b"o" * 999},
    )
    with connected(hub, monkeypatch, tmp_path / "cache"):
        yield hub


def _json(value: Any) -> str:
    import json

    return json.dumps(value)


def expanded(mirror: str) -> Expansion:
    return expand(load_plan(PLAN), open_mirror(mirror), {"torch": "1"})


def pulled(target: Path, origin: str = "hub") -> PullResult:
    return pull(expanded(origin), open_mirror(origin), FolderTarget(str(target)), lambda text: None)


def names(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.name[0] != "."
    }


def test_exactly_what_the_plan_reads_is_copied(fake: FakeHub, tmp_path: Path) -> None:
    pulled(tmp_path / "m")
    assert names(tmp_path / "m") == {
        "rajpurkar/squad/README.md", "rajpurkar/squad/plain_text/train-00000-of-00002.parquet",
        "rajpurkar/squad/plain_text/train-00001-of-00002.parquet",
        "google/xquad/README.md", "google/xquad/xquad.de/validation-00000-of-00001.parquet",
        "google/xquad/xquad.en/validation-00000-of-00001.parquet",
        "tau/commonsense_qa/default/train-00000-of-00001.jsonl",
        "models/org/small/config.json", "models/org/small/model.safetensors", "models/org/small/tokenizer.json",
    }  # fmt: skip


def test_a_plan_has_the_same_steps_on_the_mirror_as_on_the_hub(
    fake: FakeHub, tmp_path: Path
) -> None:
    at_hub = expanded("hub")
    pulled(tmp_path / "m")
    at_mirror = expanded(str(tmp_path / "m"))
    assert at_mirror.identities == at_hub.identities
    assert set(at_mirror.steps) == set(at_hub.steps)
    assert {entry["identity"]["revision"] for entry in at_hub.identities} == {
        fake.refs[f"datasets/{name}"]["main"]
        for name in ("rajpurkar/squad", "google/xquad", "tau/commonsense_qa")
    }


def test_the_hub_and_its_mirror_give_the_same_rows(fake: FakeHub, tmp_path: Path) -> None:
    pulled(tmp_path / "m")
    for task, split in (("squad", "train"), ("commonsense_qa", "train")):
        source = TASKS[task].splits[split]
        at_hub, at_mirror = (
            load_rows(open_mirror(where), source, "en") for where in ("hub", str(tmp_path / "m"))
        )
        assert len(at_hub) == len(at_mirror) > 0
        assert [at_hub[i] for i in range(len(at_hub))] == [
            at_mirror[i] for i in range(len(at_mirror))
        ]


def test_a_second_pull_fetches_nothing(fake: FakeHub, tmp_path: Path) -> None:
    first = pulled(tmp_path / "m")
    fake.requests.clear()
    second = pulled(tmp_path / "m")
    assert (second.fetched, second.kept) == (0, first.fetched)
    assert not fake.requests


def test_a_broken_connection_is_resumed(fake: FakeHub, tmp_path: Path) -> None:
    fake.cut["model.safetensors"] = 2
    pulled(tmp_path / "m")
    assert fake.ranges
    assert (tmp_path / "m/models/org/small/model.safetensors").read_bytes() == b"w" * 999


def test_an_interrupted_pull_resumes_with_the_missing_files(
    fake: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.gated.add("models/org/small")
    expansion = at_commit(fake, expanded)
    with pytest.raises(DataError, match="gated"):
        pull(expansion, open_mirror("hub"), FolderTarget(str(tmp_path / "m")), lambda text: None)
    fake.gated.clear()
    cut = "plain_text/train-00001-of-00002.parquet"
    fake.cut[cut] = 99
    with pytest.raises(InfrastructureError, match="run the same command to resume"):
        pull(expansion, open_mirror("hub"), FolderTarget(str(tmp_path / "m")), lambda text: None)
    assert f"rajpurkar/squad/{cut}" not in names(tmp_path / "m")
    assert f"rajpurkar/squad/{cut}.part" in names(tmp_path / "m")
    fake.cut.clear()
    fake.requests.clear()
    fake.ranges.clear()
    left = pull(expansion, open_mirror("hub"), FolderTarget(str(tmp_path / "m")), lambda text: None)
    assert fake.requests[cut] == 1
    assert fake.ranges
    assert left.kept > 0
    assert verify(FolderTarget(str(tmp_path / "m")))[1] == []


def at_commit(fake: FakeHub, make: Callable[[str], Expansion]) -> Expansion:
    """An expansion of the plan while no repository is gated."""
    gated, fake.gated = fake.gated, set()
    expansion = make("hub")
    fake.gated = gated
    hub_module.repo.cache_clear()
    return expansion


def test_after_a_new_commit_only_changed_files_are_fetched(fake: FakeHub, tmp_path: Path) -> None:
    pulled(tmp_path / "m")
    before = expanded(str(tmp_path / "m")).identities
    part = "plain_text/train-00001-of-00002.parquet"
    files = {**squad(), part: squad("dog")[part]}
    commit = fake.add("datasets/rajpurkar/squad", files)
    clear_caches()
    fake.requests.clear()
    pulled(tmp_path / "m")
    assert {name for name in fake.requests if name.endswith(".parquet")} == {part}
    after = expanded(str(tmp_path / "m")).identities
    assert after != before
    assert {
        entry["identity"]["revision"] for entry in after if entry["path"] == "rajpurkar/squad"
    } == {commit}


def test_a_commit_during_a_pull_does_not_change_its_files(fake: FakeHub, tmp_path: Path) -> None:
    expansion = expanded("hub")
    fake.add("datasets/rajpurkar/squad", squad("dog"))
    clear_caches()
    pull(expansion, open_mirror("hub"), FolderTarget(str(tmp_path / "m")), lambda text: None)
    rows = load_rows(open_mirror(str(tmp_path / "m")), TASKS["squad"].splits["train"], "en")
    assert rows[0]["context"] == "the cat sat"


def test_a_file_with_a_checksum_mismatch_is_fetched_again(fake: FakeHub, tmp_path: Path) -> None:
    fake.spoil["model.safetensors"] = 1
    fake.spoil["tokenizer.json"] = 1  # a small file, of which the hub lists only the git digest
    pulled(tmp_path / "m")
    assert verify(FolderTarget(str(tmp_path / "m")))[1] == []


def test_after_a_second_checksum_mismatch_the_file_is_refused_and_not_kept(
    fake: FakeHub, tmp_path: Path
) -> None:
    fake.spoil["model.safetensors"] = 99
    with pytest.raises(
        DataError, match=r"org/small/model\.safetensors.*checksum mismatch .*the hub lists"
    ):
        pulled(tmp_path / "m")
    assert not any("model.safetensors" in name for name in names(tmp_path / "m"))


def test_rate_limited_requests_are_retried(fake: FakeHub, tmp_path: Path) -> None:
    fake.busy = 3
    assert pulled(tmp_path / "m").fetched == 10


def test_a_hub_that_stays_rate_limited_is_an_infrastructure_error(
    fake: FakeHub, tmp_path: Path
) -> None:
    fake.busy = 9999
    with pytest.raises(InfrastructureError, match=r"rate-limited by the hub \(429\).*to resume"):
        pulled(tmp_path / "m")


@pytest.mark.parametrize(
    ("gate", "message"), [(True, "gated; accept the terms.*HF_TOKEN"), (False, "no such dataset")]
)
def test_a_gated_or_missing_repository_is_named(
    fake: FakeHub, tmp_path: Path, gate: bool, message: str
) -> None:
    if gate:
        fake.gated.add("datasets/google/xquad")
    else:
        del fake.repos["datasets/google/xquad"]
    with pytest.raises(DataError, match=f"google/xquad: .*{message}"):
        pulled(tmp_path / "m")


def test_a_data_set_that_is_a_script_is_read_from_the_hubs_parquet_copy(
    fake: FakeHub, tmp_path: Path
) -> None:
    fake.add(
        "datasets/tau/commonsense_qa",
        {"commonsense_qa.py": b"import datasets", "README.md": b"# none"},
    )
    rows = {
        f"default/{split}/0000.parquet": parquet([choice(i) for i in range(9)])
        for split in ("train", "validation")
    }
    commit = fake.add("datasets/tau/commonsense_qa", rows, "refs/convert/parquet")
    clear_caches()
    pulled(tmp_path / "m")
    revisions = {
        entry["path"]: entry["identity"]["revision"]
        for entry in expanded(str(tmp_path / "m")).identities
    }
    assert revisions["tau/commonsense_qa"] == commit


def test_an_unreachable_hub_is_an_infrastructure_error(
    fake: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InfrastructureError, match=r"cannot be reached.*mirror pull"):
        expanded("hub")


def test_a_model_is_read_from_the_mirror_at_its_commit_only(fake: FakeHub, tmp_path: Path) -> None:
    pulled(tmp_path / "m")
    mirror, commit = open_mirror(str(tmp_path / "m")), fake.refs["models/org/small"]["main"]
    assert (model_folder(mirror, "org/small", commit) / "model.safetensors").stat().st_size == 999
    with pytest.raises(DataError, match="does not have it at"):
        model_folder(mirror, "org/small", "0" * 40)


def test_corrupt_and_missing_files_are_reported_removed_from_the_record_and_fetched_again(
    fake: FakeHub, tmp_path: Path
) -> None:
    pulled(tmp_path / "m")
    weights = tmp_path / "m/models/org/small/model.safetensors"
    weights.write_bytes(b"x" * 999)
    (tmp_path / "m/rajpurkar/squad/plain_text/train-00001-of-00002.parquet").unlink()
    target = FolderTarget(str(tmp_path / "m"))
    _, problems = verify(target)
    assert [str(problem) for problem in problems] == [
        "models/org/small/model.safetensors: corrupt: SHA-256 mismatch",
        "rajpurkar/squad/plain_text/train-00001-of-00002.parquet: missing",
    ]
    remove_corrupt(target, problems)
    assert pulled(tmp_path / "m").fetched == 2
    assert verify(target)[1] == []


def test_a_corrupt_file_is_not_read(fake: FakeHub, tmp_path: Path) -> None:
    pulled(tmp_path / "m")
    path = tmp_path / "m/rajpurkar/squad/plain_text/train-00001-of-00002.parquet"
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(data)
    with pytest.raises(
        DataError, match="corrupt: its SHA-256 is not the one that `mirror pull` recorded"
    ):
        load_rows(open_mirror(str(tmp_path / "m")), TASKS["squad"].splits["train"], "en")


def test_a_folder_without_records_cannot_be_verified(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="only mirrors of `xstilts mirror pull`"):
        verify(FolderTarget(str(tmp_path)))


def test_licences_are_listed_with_their_restriction(fake: FakeHub, tmp_path: Path) -> None:
    rows = {row["set"]: row for row in licence_rows(pulled(tmp_path / "m").records)}
    assert (rows["rajpurkar/squad"]["licence"], rows["rajpurkar/squad"]["heed"]) == (
        "cc-by-4.0",
        "",
    )
    assert rows["google/xquad"]["heed"] == "research or non-commercial only"
    assert (rows["org/small"]["licence"], rows["org/small"]["heed"]) == (None, "unknown")


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: mit\n---\n", "mit"),
        (
            "---\nlicense:\n- cc-by-3.0\n- other\nlicense_name: oanc\n---\ntext",
            "cc-by-3.0, other, oanc",
        ),
        ("# no front matter", None),
        ("---\nlicense: [\n---\n", None),
    ],
)
def test_a_cards_licence(card: str, licence: str | None) -> None:
    assert card_licence(card) == licence


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        ("mit", ""),
        ("other", "own terms"),
        ("", "unknown"),
        ("cc-by-nc-4.0", "research or non-commercial only"),
    ],
)
def test_the_restriction_of_a_licence(licence: str, expected: str) -> None:
    assert restriction(licence) == expected


def test_a_step_finds_its_model_in_the_mirror_of_its_run(fake: FakeHub, tmp_path: Path) -> None:
    pulled(tmp_path / "m")
    steps = [
        step for step in expanded(str(tmp_path / "m")).steps.values() if step.kind == "finetune"
    ]
    fake.repos.clear()  # requests to the hub would fail
    folder = stage.model_folder(steps[0], None, tmp_path / "scratch")  # type: ignore[arg-type]  # no store is read
    assert folder == (tmp_path / "m/models/org/small").resolve()


def test_a_model_added_by_hand_is_read_from_the_mirror_unless_it_changed(
    fake: FakeHub, tmp_path: Path
) -> None:
    pulled(tmp_path / "m")
    added = (tmp_path / "m/models/org/small").resolve()
    (added / RECORD).unlink()
    fake.repos.clear()  # requests to the hub would fail
    step = next(s for s in expanded(str(tmp_path / "m")).steps.values() if s.kind == "finetune")
    assert stage.model_folder(step, None, tmp_path / "scratch") == added  # type: ignore[arg-type]  # no store is read
    (added / "config.json").write_text("{}")
    with pytest.raises(DataError, match="has changed since the run was planned"):
        stage.model_folder(step, None, tmp_path / "scratch")  # type: ignore[arg-type]


def test_a_model_added_by_hand_keeps_its_identity_in_a_copy_of_the_mirror(
    fake: FakeHub, tmp_path: Path
) -> None:
    pulled(tmp_path / "m")
    (tmp_path / "m/models/org/small" / RECORD).unlink()
    pulled(tmp_path / "copy", str(tmp_path / "m"))
    steps = (expanded(str(tmp_path / name)).steps for name in ("m", "copy"))
    first, second = ({s.fingerprint for s in made.values()} for made in steps)
    assert first == second


@pytest.mark.slow
def test_a_killed_pull_leaves_no_partial_file_and_resumes(fake: FakeHub, tmp_path: Path) -> None:
    from huggingface_hub import constants

    (tmp_path / "plan.yaml").write_text(PLAN)
    command = [
        sys.executable, "-m", "pipelines.cli", "mirror", "pull", str(tmp_path / "m"), "--plan", str(tmp_path / "plan.yaml"),
    ]  # fmt: skip
    environment = {
        **os.environ,
        "HF_ENDPOINT": constants.ENDPOINT,
        "HF_HUB_OFFLINE": "0",
        "PYTHONPATH": str(ROOT),
    }
    fake.stall.add("model.safetensors")
    process = subprocess.Popen(command, env=environment, cwd=tmp_path)
    part = tmp_path / "m/models/org/small/model.safetensors.part"
    deadline = time.monotonic() + 120
    while (
        not (part.is_file() and part.stat().st_size)
        and time.monotonic() < deadline
        and process.poll() is None
    ):
        time.sleep(0.05)
    time.sleep(1)  # the others finish
    process.kill()
    process.wait()
    assert part.is_file()
    assert not part.with_suffix("").exists()
    fake.stall.clear()
    fake.requests.clear()
    again = subprocess.run(
        command,
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert again.returncode == 0, again.stderr
    assert fake.requests["model.safetensors"] == 1
    assert fake.ranges
    assert fake.requests["plain_text/train-00000-of-00002.parquet"] == 0
    assert verify(FolderTarget(str(tmp_path / "m")))[1] == []


# ---- from another mirror ----


def test_a_copy_of_a_pulled_mirror_keeps_its_commits(fake: FakeHub, tmp_path: Path) -> None:
    pulled(tmp_path / "m")
    pulled(tmp_path / "copy", origin=str(tmp_path / "m"))
    assert expanded(str(tmp_path / "copy")).identities == expanded("hub").identities
    assert names(tmp_path / "copy") == names(tmp_path / "m")


REAL = """
name: real
recipes: miniature
backbones:
  tiny: {build: {family: xlm_r, seed: 0, tokenizer: {from: [tatoeba]}}}
arms:
  commonsense: {task: commonsense_qa, objective: head}
evaluations: [xquad, tatoeba]
languages: [en, de, ru]
"""


def test_real_slices_have_the_same_identities_in_a_copy(hub: Path, tmp_path: Path) -> None:
    def expansion(where: str) -> Expansion:
        return expand(load_plan(REAL), open_mirror(where), {"torch": "1"})

    first = expansion(str(hub))
    result = pull(
        first, open_mirror(str(hub)), FolderTarget(str(tmp_path / "m")), lambda text: None
    )
    second = expansion(str(tmp_path / "m"))
    assert second.identities == first.identities
    assert {row["licence"] for row in licence_rows(result.records)} >= {"mit"}
    assert verify(open_target(str(tmp_path / "m")))[1] == []


MINIATURE_PLAN = """
name: own
recipes: miniature
backbones:
  t: {build: {family: llava, seed: 0, tokenizer: {from: [miniature_text], byte_fallback: true}}, tuning: lora}
arms:
  told: {task: vqa_v2, objective: lm, images: caption}
evaluations: [bucc_mining]
languages: [qaa]
"""


def test_files_that_are_not_on_the_hub_are_copied_from_mirror_to_mirror(tmp_path: Path) -> None:
    """BUCC's pools and captions of images are not on the hub. A mirror of a mirror has them, and
    the same steps.
    """
    write_miniature(
        tmp_path / "from", sizes=Sizes(text=16, train=24, select=6, test=6, pictures=15)
    )
    (tmp_path / "plan.yaml").write_text(MINIATURE_PLAN)
    plan, environment = load_plan(tmp_path / "plan.yaml"), {"torch": "2"}
    before = expand(plan, open_mirror(str(tmp_path / "from")), environment)
    pull(
        before,
        open_mirror(str(tmp_path / "from")),
        open_target(str(tmp_path / "to")),
        lambda _: None,
    )
    after = expand(plan, open_mirror(str(tmp_path / "to")), environment)
    assert set(after.steps) == set(before.steps)
    there = {
        path.relative_to(tmp_path / "to").as_posix()
        for path in (tmp_path / "to").rglob("*")
        if path.is_file()
    }
    assert {
        f"bucc2018/qaa-en/qaa-en.{part}.{side}"
        for part in ("sample", "training")
        for side in ("qaa", "en", "gold")
    } <= there
    assert "captions/vqa_v2/train-00000-of-00001.parquet" in there
