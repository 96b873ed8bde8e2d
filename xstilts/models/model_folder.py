"""Checks a model folder before anything in it is loaded: its files, the headers of its weights, and
the sizes in its config.json. No tensor is read, and neither torch nor transformers is imported.

transformers trusts a folder: it draws missing weights at random, follows a shard index out of the
folder, makes an empty tokenizer without files, and allocates what config.json says.
"""

import math
import os
import struct
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xstilts.errors import DataError, XstiltsError, in_a_line
from xstilts.input_files import (
    InvalidDocument,
    check_type,
    open_file,
    parse_json,
    read_object,
    strings,
)
from xstilts.models.config_shape import read_model_config
from xstilts.models.contract import Contract

#: Bits of an element. Formats of less than 16 bits are quantized weights, which need scales.
_BITS = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "I64": 64, "I32": 32, "I16": 16, "U64": 64,
    "U32": 32, "U16": 16, "I8": 8, "U8": 8, "BOOL": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip
_FLOATS = ("F64", "F32", "F16", "BF16")
#: The safetensors library's own limit of a header.
_LARGEST_HEADER = 100_000_000
#: Files with weights in the order in which transformers looks for them.
_SAFETENSORS = ("model.safetensors", "model.safetensors.index.json")
_PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
#: One of these groups of files is a tokenizer.
_TOKENIZERS = (
    ("tokenizer.json",),
    ("tokenizer.model",),
    ("sentencepiece.bpe.model",),
    ("vocab.txt",),
    ("vocab.json", "merges.txt"),
)
_IMAGE_PROCESSORS = ("preprocessor_config.json", "processor_config.json")
#: Keys of config.json that count modules: each has at least one tensor.
_COUNTS = ("num_hidden_layers", "depth", "num_layers")
#: Keys that are a dimension of some tensor.
_WIDTHS = (
    "hidden_size",
    "intermediate_size",
    "vocab_size",
    "embed_dim",
    "moe_intermediate_size",
    "num_experts",
)
#: Keys of config.json that make transformers load something else than the folder's plain weights.
_REFUSED = {
    "quantization_config": "use the unquantized model",
    "transformers_weights": "remove the key, and name the weights model.safetensors",
}


@dataclass(frozen=True)
class Tensor:
    """A tensor as the header of a file describes it."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


def check_folder(folder: Path, of: Contract) -> None:
    """Checks a model folder of a family. DataError says which file is wrong, and how."""
    folder = Path(folder)
    config = read_config(folder)
    check_tokenizer_files(folder, of)
    if (folder / "adapter_config.json").exists():
        raise DataError(
            f"{folder}: adapter_config.json: an adapter in a model folder would be added to the "
            "model; merge it (peft: merge_and_unload) or remove it"
        )
    files = weight_files(folder)
    if files[0].suffix != ".safetensors":
        for file in files:
            check_pickle(file)
        return
    tensors: dict[str, Tensor] = {}
    for file in files:
        tensors |= read_header(file)
    _check_sizes(folder, config, tensors)


def read_config(folder: Path) -> dict[str, Any]:
    """The config.json of a model folder. DataError if it is missing or invalid."""
    if not os.path.isdir(folder):
        raise DataError(f"{folder}: no such folder; it must be one written by save_pretrained")
    file = Path(folder) / "config.json"
    if not os.path.exists(file):
        raise DataError(f"{folder} has no config.json; use a folder written by save_pretrained")
    config = read_model_config(file)
    for key, advice in _REFUSED.items():
        if config.get(key) is not None:
            raise DataError(f"{file}: {key} is not supported; {advice}")
    return config


def check_tokenizer_files(folder: Path, of: Contract) -> None:
    """DataError unless a folder has the files of a tokenizer and, of a family with images, of an
    image processor.
    """
    if not any(all((folder / name).is_file() for name in group) for group in _TOKENIZERS):
        names = ", ".join(" with ".join(group) for group in _TOKENIZERS)
        raise DataError(f"{folder}: missing: the tokenizer ({names}); save it into the folder")
    if of.vision and not any((folder / name).is_file() for name in _IMAGE_PROCESSORS):
        raise DataError(
            f"{folder}: missing: preprocessor_config.json, which family {of.family} needs for "
            "images; save the processor into the folder"
        )


def weight_files(folder: Path) -> list[Path]:
    """The files with the weights, of one format: safetensors if the folder has them, else PyTorch.

    Raises:
        DataError: there are none, one of the index is missing, or the index names a file outside
            the folder.
    """
    for single, index in (_SAFETENSORS, _PICKLES):
        if (folder / single).exists():
            return [folder / single]
        if (folder / index).exists():
            return _shards(folder / index)
    raise DataError(f"{folder}: missing: the weights ({', '.join((*_SAFETENSORS, *_PICKLES))})")


def _shards(index: Path) -> list[Path]:
    content = read_object(index)
    for key in ("metadata", "weight_map"):
        check_type(content.get(key), dict, f"{index}: {key}")
    places = strings(content["weight_map"], f"{index}: weight_map")
    if not places:
        raise DataError(f"{index}: weight_map is empty")
    suffix = Path(index.name.removesuffix(".index.json")).suffix
    files = []
    for name in sorted(set(places.values())):
        if "/" in name or "\\" in name or "\0" in name or not name.endswith(suffix):
            raise DataError(
                f"{index}: weight_map: {name[:80]!r} is not the name of a {suffix} file in the "
                "folder"
            )
        if not (index.parent / name).exists():
            raise DataError(f"{index.parent}: missing: {name}, which {index.name} lists")
        files.append(index.parent / name)
    if suffix == ".safetensors":
        headers = {file.name: read_header(file) for file in files}
        for tensor, name in places.items():
            if tensor not in headers[name]:
                raise DataError(f"{index}: weight_map: {name} has no tensor {tensor[:80]!r}")
    return files


def check_links(folder: Path) -> None:
    """DataError if a symbolic link in a model folder leads out of it, as in an unpacked archive
    from elsewhere. Links into the blobs of a hub cache are allowed.
    """
    root = folder.resolve()
    blobs = root.parent.parent / "blobs" if root.parent.name == "snapshots" else root
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            try:
                target = path.resolve(strict=True)
            except (OSError, RuntimeError) as error:
                raise DataError(f"{path}: a symbolic link that leads nowhere; remove it") from error
            if not (target.is_relative_to(root) or target.is_relative_to(blobs)):
                raise DataError(
                    f"{path}: a symbolic link that leaves the folder, to {target}; copy the file "
                    "into the folder"
                )


# ---- headers of weights ----


def read_header(file: Path) -> Mapping[str, Tensor]:
    """The tensors of a safetensors file by name, from its header.

    The format: 8 bytes with the length of the header, the header as JSON with data type, shape and
    place of each tensor, then the bytes of the tensors without gaps
    (huggingface/safetensors README.md).

    Raises:
        DataError: the header is invalid, or the file has another size than the header says.
    """
    with open_file(file) as stream:
        size = os.fstat(stream.fileno()).st_size
        start = stream.read(8)
        if len(start) < 8:
            raise DataError(f"{file}: truncated: {size} bytes; copy it again")
        (length,) = struct.unpack("<Q", start)
        if length > min(_LARGEST_HEADER, size - 8):
            raise DataError(
                f"{file}: not a safetensors file, or truncated: a header of {length:,} bytes in a "
                f"file of {size:,}; copy it again"
            )
        try:
            header = parse_json(stream.read(length), _LARGEST_HEADER)
        except InvalidDocument as error:
            raise DataError(f"{file}: invalid header: {error}") from error
    check_type(header, dict, f"{file}: the header")
    header.pop("__metadata__", None)
    if not header:
        raise DataError(f"{file}: contains no tensor")
    tensors = {name: _tensor(entry, f"{file}: {name[:80]!r}") for name, entry in header.items()}
    end = 0
    for name, entry in sorted(header.items(), key=lambda item: tuple(item[1]["data_offsets"])):
        if entry["data_offsets"][0] != end:
            raise DataError(f"{file}: {name[:80]!r} does not begin where the tensor before it ends")
        end = entry["data_offsets"][1]
    if 8 + length + end != size:
        raise DataError(
            f"{file}: truncated or changed: {size:,} bytes, and its header describes "
            f"{8 + length + end:,}; copy it again"
        )
    return tensors


def _tensor(entry: Any, where: str) -> Tensor:
    check_type(entry, dict, where)
    for key, types in (("dtype", str), ("shape", list), ("data_offsets", list)):
        check_type(entry.get(key), types, f"{where}: {key}")
    shape, offsets, dtype = entry["shape"], entry["data_offsets"], entry["dtype"]
    if dtype not in _BITS:
        raise DataError(f"{where}: unknown data type {dtype[:20]!r}")
    if not all(type(side) is int and side >= 0 for side in [*shape, *offsets]) or len(offsets) != 2:
        raise DataError(f"{where}: shape and data_offsets must be whole numbers")
    if len(shape) > 1 and dtype not in _FLOATS and dtype not in ("I64", "I32"):
        raise DataError(f"{where}: quantized weights ({dtype}); use the unquantized model")
    tensor = Tensor(dtype, tuple(shape))
    if -(-tensor.elements * _BITS[dtype] // 8) != offsets[1] - offsets[0]:
        raise DataError(
            f"{where}: {offsets[1] - offsets[0]:,} bytes do not hold shape {shape} in {dtype}"
        )
    return tensor


def check_pickle(file: Path) -> None:
    """DataError unless a PyTorch file is a zip archive of uncompressed members (torch ≥ 1.6), which
    cannot expand to more than its size. What its pickle may construct is limited when it is loaded
    (see xstilts.models.backbone).
    """
    advice = "save the model as safetensors (save_pretrained)"
    with open_file(file) as stream:
        try:
            with zipfile.ZipFile(stream) as archive:
                members = archive.infolist()
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise DataError(
                f"{file}: not a file of torch.save as of 1.6, or truncated ({error}); {advice}"
            ) from error
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise DataError(f"{file}: compressed weights; {advice}")


# ---- sizes in config.json ----


def _check_sizes(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """DataError if config.json has more layers than the weights have tensors, or wider ones than
    any of them: transformers would build the model before it compares.
    """
    widest = max((side for tensor in tensors.values() for side in tensor.shape), default=0)
    for where, key, value in _sizes(config, f"{folder / 'config.json'}"):
        if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
            raise DataError(f"{where}: {key} must be a positive integer, not {value!r}")
        limit = len(tensors) if key in _COUNTS else widest
        limit = max(limit, len(tensors)) if key == "num_experts" else limit
        if value > limit:
            of = "they have tensors" if key in _COUNTS else "the widest of them is"
            raise DataError(
                f"{where}: {key} {value:,} does not fit the weights: {of} {limit:,}; use the "
                "config.json of these weights"
            )


def _sizes(config: Mapping[str, Any], where: str) -> Iterator[tuple[str, str, Any]]:
    for key, value in config.items():
        if key in ("text_config", "vision_config") and isinstance(value, dict):
            yield from _sizes(value, f"{where}: {key}")
        elif (key in _COUNTS or key in _WIDTHS) and value is not None:
            yield where, key, value


@contextmanager
def refused(folder: Path, what: str) -> Iterator[None]:
    """DataError in place of what transformers raises for a malformed file: of any type, from a
    KeyError to a validation error. Too little memory is not a fault of the folder.
    """
    try:
        yield
    except (XstiltsError, MemoryError):
        raise
    except Exception as error:
        if type(error).__name__ == "OutOfMemoryError":
            raise
        reason = in_a_line(str(error)) or type(error).__name__
        raise DataError(
            f"{folder}: cannot be loaded as {what} ({type(error).__name__}: {reason[:300]}); check "
            "its config.json and weights, or fetch the model again"
        ) from error
