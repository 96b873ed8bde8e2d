"""Model folders that are refused before a step uses them. Each case changes a sound folder in one
place; the sound folder itself, and what may legitimately be absent, load.
"""

import json
import math
import os
import pickle
import shutil
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from xstilts.errors import DataError
from xstilts.models.backbone import load_backbone
from xstilts.models.processor import load_processor
from xstilts.plan.backbone_plan import BackbonePlan
from xstilts.plan.model_identity import identity_of

Change = Callable[[Path], Any]
WEIGHTS = "model.safetensors"


def edit(folder: Path, name: str, **changes: Any) -> None:
    """Changes keys of a JSON file; `text_config__x` is the key x within text_config."""
    value = json.loads((folder / name).read_text()) if (folder / name).exists() else {}
    for key, new in changes.items():
        outer, _, inner = key.partition("__")
        if inner:
            value[outer][inner] = new
        else:
            value[outer] = new
    (folder / name).write_text(json.dumps(value))


def config(**changes: Any) -> Change:
    return lambda folder: edit(folder, "config.json", **changes)


def written(name: str, data: bytes | str) -> Change:
    return lambda folder: (folder / name).write_bytes(
        data.encode() if isinstance(data, str) else data
    )


def removed(*names: str) -> Change:
    def change(folder: Path) -> None:
        for name in names:
            for path in list(folder.glob(name)):
                path.unlink()

    return change


def tensors(change: Callable[[dict[str, torch.Tensor]], Any]) -> Change:
    """Saves the weights again after a change."""

    def save(folder: Path) -> None:
        state = load_file(folder / WEIGHTS)
        made = change(state)
        state = made if isinstance(made, dict) else state
        save_file({k: v.contiguous() for k, v in state.items()}, folder / WEIGHTS, {"format": "pt"})

    return save


def one(name: str, value: float) -> Change:
    """Sets the last element of the first tensor whose name ends like this."""

    def change(state: dict[str, torch.Tensor]) -> None:
        key = next(key for key in sorted(state) if key.endswith(name))
        state[key].view(-1)[-1] = value

    return tensors(change)


def keep(count: int) -> Change:
    return tensors(lambda state: {key: state[key] for key in sorted(state)[:count]})


def without(end: str) -> Change:
    return tensors(lambda state: {k: v for k, v in state.items() if not k.endswith(end)})


def header(change: Callable[[dict[str, Any]], Any]) -> Change:
    """Rewrites the header of the weights and leaves the bytes of the tensors."""

    def rewrite(folder: Path) -> None:
        data = (folder / WEIGHTS).read_bytes()
        (size,) = struct.unpack("<Q", data[:8])
        value = json.loads(data[8 : 8 + size])
        text = change(value)
        text = text if isinstance(text, bytes) else json.dumps(value).encode()
        (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size :])

    return rewrite


def entry(**changes: Any) -> Change:
    """Changes the header's entry of a matrix."""

    def change(value: dict[str, Any]) -> None:
        name = next(k for k in sorted(value) if k != "__metadata__" and len(value[k]["shape"]) == 2)
        value[name] |= changes

    return header(change)


def sharded(name: str = "part.safetensors", **changes: Any) -> Change:
    """The weights as one shard with an index; changes: keys of the index."""

    def change(folder: Path) -> None:
        names = list(load_file(folder / WEIGHTS))
        (folder / WEIGHTS).rename(folder / "part.safetensors")
        index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(names, name)}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index | changes))

    return change


def linked(name: str) -> Change:
    """A file replaced by a symbolic link to a copy outside the folder."""

    def change(folder: Path) -> None:
        outside = folder.parent / f"outside-{name}"
        (folder / name).rename(outside)
        (folder / name).symlink_to(outside)

    return change


def fifo(name: str) -> Change:
    def change(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return change


def as_pickle(save: Callable[[dict[str, torch.Tensor], Path], Any]) -> Change:
    """The weights as pytorch_model.bin, and no safetensors."""

    def change(folder: Path) -> None:
        state = load_file(folder / WEIGHTS)
        (folder / WEIGHTS).unlink()
        save(state, folder / "pytorch_model.bin")

    return change


class Harmful:
    """What a pickle may run when it is loaded."""

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return os.system, ("true",)


def compressed(state: dict[str, torch.Tensor], file: Path) -> None:
    torch.save(state, file)
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def tokenizer(change: Callable[[dict[str, Any]], Any]) -> Change:
    def rewrite(folder: Path) -> None:
        value = json.loads((folder / "tokenizer.json").read_text())
        change(value)
        (folder / "tokenizer.json").write_text(json.dumps(value))

    return rewrite


def cut(name: str, size: int) -> Change:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:size])


DEEP = "[" * 5000 + "]" * 5000
HUGE = 10**9

# family of the sound folder, case, change, message
# fmt: off
CASES: list[tuple[str, str, Change, str]] = [
    # config.json
    ("bert", "no config.json", removed("config.json"), r"has no config\.json"),
    ("bert", "config.json is empty", written("config.json", ""), r"config\.json: not valid JSON"),
    ("bert", "config.json is a list", written("config.json", "[]"), "expected a JSON object, not a list"),
    ("bert", "config.json is null", written("config.json", "null"), "expected a JSON object, not null"),
    ("bert", "config.json is truncated", cut("config.json", 90), "not valid JSON"),
    ("bert", "config.json is not UTF-8", written("config.json", b"\xff\xfe{"), "not UTF-8"),
    ("bert", "config.json is deep", written("config.json", DEEP), "nested too deeply"),
    ("bert", "config.json has a duplicate key", written("config.json", '{"model_type": "bert", "model_type": "bert"}'), "duplicate key 'model_type'"),
    ("bert", "config.json has NaN", written("config.json", '{"model_type": "bert", "x": NaN}'), "NaN is not a JSON value"),
    ("bert", "config.json is a FIFO", fifo("config.json"), "a FIFO, not a file"),
    ("bert", "model_type is a number", config(model_type=7), "`model_type` must be text, not a number"),
    ("bert", "no model_type", written("config.json", "{}"), "model_type None in config.json is not of"),
    ("bert", "model_type of another family", config(model_type="xlm-roberta"), "is of family xlm_r, not bert"),
    ("bert", "model_type that transformers does not know", config(model_type="nothing"), "'nothing' in config.json is not of family bert, whose models have bert"),
    ("bert", "model_type of a model of another kind", config(model_type="gpt2"), "'gpt2' in config.json is not of family bert"),
    ("bert", "quantized by its config.json", config(quantization_config={"quant_method": "gptq"}), "quantization_config is not supported"),
    ("bert", "weights elsewhere by config.json", config(transformers_weights="../x.safetensors"), "transformers_weights is not supported"),
    ("bert", "a size is text", config(hidden_size="wide"), "`hidden_size` must be a whole number from 1"),
    ("bert", "a size is negative", config(intermediate_size=-1), "`intermediate_size` must be a whole number from 1"),
    ("bert", "a size is zero", config(num_hidden_layers=0), "`num_hidden_layers` must be a whole number from 1"),
    ("bert", "absurd layers", config(num_hidden_layers=HUGE), "num_hidden_layers 1,000,000,000 does not fit the weights"),
    ("bert", "absurd width", config(hidden_size=HUGE), "hidden_size 1,000,000,000 does not fit"),
    ("bert", "absurd feed-forward network", config(intermediate_size=HUGE), "intermediate_size 1,.* does not fit"),
    ("bert", "absurd vocabulary", config(vocab_size=HUGE), "vocab_size 1,.* does not fit"),
    ("bert", "absurd positions", config(max_position_embeddings=HUGE), "describes a model of .* parameters, and the weights hold"),
    ("bert", "more positions than weights", config(max_position_embeddings=4096), "describes a model of"),
    ("bert", "more layers than weights", config(num_hidden_layers=9), "describes a model of|missing: .* weights"),
    ("bert", "fewer rows than weights", config(vocab_size=100), "cannot be loaded|ids up to"),
    ("bert", "width not divisible by heads", config(num_attention_heads=5), "cannot be loaded"),
    ("llava", "text sizes are absurd", config(text_config__num_hidden_layers=HUGE), "text_config: num_hidden_layers .* does not fit"),
    ("llava", "tower sizes are absurd", config(vision_config__hidden_size=HUGE), "vision_config: hidden_size .* does not fit"),
    ("llava", "tower of another kind", config(vision_config__model_type="nothing"), "cannot be loaded"),
    ("llava", "image token of another tokenizer", config(image_token_index=3, image_token_id=3), "the tokenizer has <image> as"),
    ("llava", "absurd image size", config(vision_config__image_size=10**7), "the vision tower takes|describes a model"),
    # weights
    ("bert", "no weights", removed("model.safetensors"), "missing: the weights"),
    ("bert", "three tensors", keep(3), "does not fit the weights|describes a model of|missing: .* weights"),
    ("bert", "a layer is missing", tensors(lambda s: {k: v for k, v in s.items() if "layer.0." not in k}), "describes a model of|missing: 16 weights"),
    ("bert", "a bias is missing", without("layer.0.output.dense.bias"), "describes a model of|missing: 1 weight"),
    ("qwen2", "a norm is missing, the head is tied", without("layers.0.input_layernorm.weight"), "describes a model of|missing: 1 weight"),
    ("qwen2", "tied weights are missing in both places", tensors(lambda s: {k: v for k, v in s.items() if "embed_tokens" not in k and "lm_head" not in k}), "does not fit|describes a model of|missing"),
    ("llava", "the tower is missing", tensors(lambda s: {k: v for k, v in s.items() if "vision" not in k}), "describes a model of|missing"),
    ("llava", "the projector is missing", tensors(lambda s: {k: v for k, v in s.items() if "projector" not in k}), "describes a model of|missing"),
    ("bert", "a matrix has another shape", tensors(lambda s: s.update({k: torch.zeros(v.shape[0], v.shape[1] + 1) for k, v in s.items() if k.endswith("layer.0.output.dense.weight")})), "cannot be loaded|describes a model"),
    ("bert", "a weight is NaN", one("word_embeddings.weight", math.nan), "NaN or infinite: 1 weight, such as"),
    ("bert", "a bias is infinite", one("output.dense.bias", math.inf), "NaN or infinite: 1 weight, such as"),
    ("bert", "a weight is minus infinity", one("query.weight", -math.inf), "NaN or infinite: 1 weight, such as"),
    ("llava", "the tower has NaN", one("patch_embedding.weight", math.nan), "NaN or infinite: 1 weight, such as"),
    ("bert", "weights of a quantized model", tensors(lambda s: s.update({k: v.to(torch.int8) for k, v in s.items() if k.endswith("query.weight")})), "quantized weights"),
    ("bert", "weights are empty", written(WEIGHTS, b""), "truncated: 0 bytes"),
    ("bert", "weights are truncated", cut(WEIGHTS, 20_000), "truncated or changed"),
    ("bert", "weights are cut within the header", cut(WEIGHTS, 100), "not a safetensors file, or truncated"),
    ("bert", "weights are a web page", written(WEIGHTS, "<!doctype html><title>404</title>"), "not a safetensors file, or truncated"),
    ("bert", "a Git LFS pointer", written(WEIGHTS, "version https://git-lfs.github.com/spec/v1\n"), "not a safetensors file, or truncated"),
    ("bert", "an absurd header", written(WEIGHTS, struct.pack("<Q", 2**62) + b"{}"), "a header of 4,611,"),
    ("bert", "the header is not JSON", header(lambda v: b"{'a': 1}"), "invalid header: not valid JSON"),
    ("bert", "the header is a list", header(lambda v: b"[1]"), "the header must be an object"),
    ("bert", "the header is empty", header(lambda v: b"{}"), "contains no tensor"),
    ("bert", "the header is deep", header(lambda v: DEEP.encode()), "nested too deeply"),
    ("bert", "a tensor twice", header(lambda v: b'{"a": {}, "a": {}}'), "duplicate key 'a'"),
    ("bert", "an unknown data type", entry(dtype="F128"), "unknown data type 'F128'"),
    ("bert", "a negative shape", entry(shape=[-1, 32]), "must be whole numbers"),
    ("bert", "a shape of fractions", entry(shape=[1.5, 2]), "must be whole numbers"),
    ("bert", "a shape that is text", entry(shape="32"), "shape must be a list, not text"),
    ("bert", "an absurd shape", entry(shape=[2**40, 2**40]), "bytes do not hold shape"),
    ("bert", "places outside the file", entry(data_offsets=[0, 2**50]), "bytes do not hold shape"),
    ("bert", "places that overlap", entry(data_offsets=[0, 0], shape=[0, 0]), "does not begin where|truncated or changed"),
    ("bert", "weights are a folder", lambda f: ((f / WEIGHTS).unlink(), (f / WEIGHTS).mkdir()), "a folder, not a file"),
    ("bert", "weights are a FIFO", fifo(WEIGHTS), "a FIFO, not a file"),
    # shards
    ("bert", "index names a file above", sharded("../part.safetensors"), "is not the name of a .safetensors file in the folder"),
    ("bert", "index names an absolute path", sharded("/etc/passwd"), "is not the name of a .safetensors file"),
    ("bert", "index names another format", sharded("part.bin"), "is not the name of a .safetensors file"),
    ("bert", "index names a missing shard", sharded("absent.safetensors"), "missing: absent.safetensors"),
    ("bert", "index without a map", sharded(weight_map=None), "weight_map must be an object, not null"),
    ("bert", "index without metadata", sharded(metadata=None), "metadata must be an object, not null"),
    ("bert", "index with an empty map", sharded(weight_map={}), "weight_map is empty"),
    ("bert", "index with a number for a name", sharded(weight_map={"a": 1}), "must be text, not a number"),
    ("bert", "index of a tensor that the shard lacks", sharded(weight_map={"nothing": "part.safetensors"}), "has no tensor 'nothing'"),
    ("bert", "index is not JSON", lambda f: (sharded()(f), (f / "model.safetensors.index.json").write_text("{")), "not valid JSON"),
    # pickles
    ("bert", "a pickle that runs code", as_pickle(lambda s, f: torch.save({**s, "x": Harmful()}, f)), "not plain tensors .* can run code"),
    ("bert", "a pickle without torch", as_pickle(lambda s, f: f.write_bytes(pickle.dumps(Harmful()))), "not a file of torch.save"),
    ("bert", "torch's older format", as_pickle(lambda s, f: torch.save(s, f, _use_new_zipfile_serialization=False)), "not a file of torch.save"),
    ("bert", "compressed weights", as_pickle(compressed), "compressed weights"),
    ("bert", "a truncated pickle", lambda f: (as_pickle(torch.save)(f), cut("pytorch_model.bin", 9000)(f)), "not a file of torch.save"),
    ("bert", "a pickle of a list", as_pickle(lambda s, f: torch.save(list(s.values()), f)), "not a state dict"),
    ("bert", "a pickle with NaN", as_pickle(lambda s, f: torch.save({k: v * math.nan for k, v in s.items()}, f)), "NaN or infinite"),
    ("bert", "a pickle without a layer", as_pickle(lambda s, f: torch.save({k: v for k, v in s.items() if "layer.0." not in k}, f)), "describes a model of|missing"),
    # tokenizer and image processor
    ("bert", "no tokenizer", removed("tokenizer*"), "missing: the tokenizer"),
    ("bert", "settings of a tokenizer without it", removed("tokenizer.json"), "missing: the tokenizer"),
    ("qwen2", "no tokenizer of a decoder", removed("tokenizer.json"), "missing: the tokenizer"),
    ("qwen2", "vocabulary without merges", lambda f: (removed("tokenizer.json")(f), written("vocab.json", "{}")(f)), "missing: the tokenizer"),
    ("bert", "tokenizer is not JSON", written("tokenizer.json", "{"), "cannot be loaded as a processor"),
    ("bert", "tokenizer is another document", written("tokenizer.json", "{}"), "cannot be loaded as a processor"),
    ("bert", "tokenizer of a larger vocabulary", tokenizer(lambda v: v["model"]["vocab"].update(extra=99_999)), "the tokenizer has ids up to"),
    ("bert", "tokenizer settings are a list", written("tokenizer_config.json", "[]"), "cannot be loaded as a processor"),
    ("llava", "no image processor", removed("processor_config.json", "preprocessor_config.json"), r"missing: preprocessor_config\.json"),
    ("llava", "image processor is not JSON", written("processor_config.json", "{"), "cannot be loaded as a processor"),
    ("llava", "image processor of another size", lambda f: edit(f, "processor_config.json", image_processor={"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 99}, "crop_size": {"height": 99, "width": 99}}), "the image processor makes images of 99"),
    # other files
    ("bert", "an adapter", lambda f: edit(f, "adapter_config.json", base_model_name_or_path="../other"), "an adapter in a model folder"),
]
# fmt: on


@pytest.fixture
def sound(folder: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """Family → a copy of a sound folder."""

    def copy(family: str) -> Path:
        return Path(shutil.copytree(folder(family), tmp_path / "model", symlinks=True))

    return copy


def use(folder: Path, family: str) -> None:
    """What a run does with a folder: the plan's check, the processor, the weights."""
    identity_of("b", BackbonePlan(path=str(folder), family=family))
    load_processor(folder, family)
    load_backbone(folder, family)


@pytest.mark.parametrize(
    ("family", "case", "change", "message"), CASES, ids=[f"{c[0]}: {c[1]}" for c in CASES]
)
def test_a_damaged_model_folder_is_refused(
    family: str, case: str, change: Change, message: str, sound: Callable[[str], Path]
) -> None:
    folder = sound(family)
    change(folder)
    start = time.process_time()
    with pytest.raises(DataError, match=message) as raised:
        use(folder, family)
    assert str(folder) in str(raised.value)
    assert time.process_time() - start < 5


@pytest.mark.parametrize("name", [WEIGHTS, "config.json", "tokenizer.json"])
def test_a_link_out_of_the_folder_is_refused_by_the_plan(
    name: str, sound: Callable[[str], Path]
) -> None:
    folder = sound("bert")
    linked(name)(folder)
    with pytest.raises(DataError, match="a symbolic link that leaves the folder"):
        use(folder, "bert")


def test_a_link_that_leads_back_to_itself_is_refused(sound: Callable[[str], Path]) -> None:
    folder = sound("bert")
    (folder / "loop").symlink_to("loop")
    with pytest.raises(DataError, match="leads nowhere"):
        use(folder, "bert")


def test_a_snapshot_of_the_hub_cache_loads(sound: Callable[[str], Path], tmp_path: Path) -> None:
    """Its files are links to `blobs`."""
    folder, snapshot = sound("bert"), tmp_path / "models--a--b" / "snapshots" / "c"
    snapshot.mkdir(parents=True)
    folder.rename(tmp_path / "models--a--b" / "blobs")
    for blob in (tmp_path / "models--a--b" / "blobs").iterdir():
        (snapshot / blob.name).symlink_to(f"../../blobs/{blob.name}")
    use(snapshot, "bert")


LEGITIMATE: list[tuple[str, str, Change]] = [
    ("bert", "as written", lambda folder: None),
    ("bert", "in shards", sharded()),
    ("bert", "as a state dict of torch.save", as_pickle(torch.save)),
    ("bert", "in half precision", tensors(lambda s: {k: v.half() for k, v in s.items()})),
    ("bert", "without an LM head", tensors(lambda s: {k: v for k, v in s.items() if not k.startswith("cls.")})),
    ("bert", "with a pooler and another head", tensors(lambda s: s | {"bert.pooler.dense.weight": torch.zeros(4, 4), "classifier.weight": torch.zeros(2, 4)})),
    ("qwen2", "with a tied head", tensors(lambda s: {k: v for k, v in s.items() if "lm_head" not in k})),
    ("qwen2", "with a tied head that is stored twice", tensors(lambda s: s | {"lm_head.weight": s["model.embed_tokens.weight"].clone()})),
    ("bert", "with files of other libraries", lambda f: ((f / "1_Pooling").mkdir(), (f / "README.md").write_text("#"))),
]  # fmt: skip


@pytest.mark.parametrize(
    ("family", "case", "change"), LEGITIMATE, ids=[f"{c[0]} {c[1]}" for c in LEGITIMATE]
)
def test_a_sound_model_folder_loads(
    family: str, case: str, change: Change, sound: Callable[[str], Path]
) -> None:
    folder = sound(family)
    change(folder)
    use(folder, family)
