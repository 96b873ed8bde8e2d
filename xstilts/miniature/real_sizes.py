"""Pictures and texts of real sizes. The miniature's own are small, so that faults of real
geometry (an image that takes more tokens than a row has) cannot occur in it.

Labels and answers stay those of the miniature: a lengthened text starts with its own, and
sentences about other things follow.
"""

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import cycle
from random import Random
from typing import Any

from xstilts.miniature.drawings import SIDE
from xstilts.miniature.invented_languages import InventedLanguage
from xstilts.miniature.splits import Sizes
from xstilts.miniature.world import fact_clause, scene

#: Rows per split: few, since pictures are large.
FEW = Sizes(text=60, train=60, select=16, test=16, pictures=80)
#: (width, height). COCO scales the longer side to 640 pixels, Flickr30k to 500.
_COCO = ((640, 480), (480, 640), (427, 640), (640, 425), (640, 640), (500, 375))
_FLICKR = ((500, 375), (375, 500), (500, 333), (333, 500))
_WEB = ((1024, 768), (640, 480), (1600, 1200), (300, 225), (800, 1200))
_EXTREME = ((3000, 200), (32, 32), (200, 3000))
#: Data set → sizes of its pictures; the others have those of COCO.
_PICTURES: Mapping[str, Sequence[tuple[int, int]]] = {
    "umaru97/flickr30k_train_val_test": _FLICKR,
    "Multimodal-Fatima/SNLI-VE_train": _FLICKR,
    "Multimodal-Fatima/SNLI-VE_validation": _FLICKR,
    "HuggingFaceM4/the_cauldron/nlvr2": _WEB,
    "lil-lab/nlvr": ((400, 100),),
    "derek-thomas/ScienceQA": _WEB,
}
#: Words of captions, hypotheses and questions, and of paragraphs: mostly typical, few long.
_SENTENCE = (8, 11, 10, 14, 9, 20, 12, 45)
_PARAGRAPH = (100, 120, 80, 150, 110, 400)


def with_real_sizes(
    rows: Iterable[dict[str, Any]],
    path: str,
    config: str | None,
    seed: str,
    language: InventedLanguage,
) -> Iterator[dict[str, Any]]:
    """The rows of a split with pictures and texts of real sizes. Parallel splits stay parallel.

    Args:
        rows: Of the miniature.
        path: Of the data set.
        config: Of the data set.
        seed: Of the additional sentences; equal for parallel splits.
        language: Of the texts.
    """
    sizes = _PICTURES.get(f"{path}/{config}") or _PICTURES.get(path, _COCO)
    pictures = cycle((*sizes, *_EXTREME))
    longer = _Longer(Random(seed), language)
    enlarged: dict[bytes, tuple[bytes, str]] = {}
    for row in rows:
        images = [*filter(None, [row.get("image")]), *(row.get("images") or [])]
        for image in images:
            before = image["bytes"]
            if before not in enlarged:
                caption = longer.sentence(image["caption"])
                enlarged[before] = (_resized(before, next(pictures)), caption)
        changed = dict(row)
        if images:
            changed |= longer.texts(row)
        if isinstance(row.get("context"), str):
            changed["context"] = longer.paragraph(row["context"])
        new = [_image(image, *enlarged[image["bytes"]]) for image in images]
        if row.get("image"):
            changed["image"] = new[0]
        elif images:
            changed["images"] = new
        if "bbox" in row:
            changed |= _scaled_box(row, changed["image"]["bytes"])
        yield changed


class _Longer:
    """Lengthens texts by sentences of other scenes, to word counts that repeat in a cycle."""

    def __init__(self, rng: Random, language: InventedLanguage) -> None:
        self.rng, self.language = rng, language
        self.sentences, self.paragraphs = cycle(_SENTENCE), cycle(_PARAGRAPH)

    def sentence(self, text: str) -> str:
        return self._to(text, next(self.sentences))

    def paragraph(self, text: str) -> str:
        return self._to(text, next(self.paragraphs))

    def texts(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The texts of a row with pictures that are lengthened. Captions, premises and questions;
        in the Cauldron, what the user says.
        """
        keys = ("caption", "premise", "hypothesis", "question", "sentence")
        changed: dict[str, Any] = {
            key: self.sentence(row[key]) for key in keys if isinstance(row.get(key), str)
        }
        if isinstance(row.get("texts"), list):
            changed["texts"] = [
                {**turn, "user": self.sentence(turn["user"])} for turn in row["texts"]
            ]
        return changed

    def _to(self, text: str, words: int) -> str:
        while len(text.split()) < words:
            (fact,) = scene(self.rng, 1)
            said = self.language.text(self.language.say(fact_clause(fact)))
            text = f"{text} {said}"
        return text


def _image(image: Mapping[str, Any], data: bytes, caption: str) -> dict[str, Any]:
    return {**image, "bytes": data, "caption": caption}


def _resized(data: bytes, size: tuple[int, int]) -> bytes:
    """The picture as a PNG of another size; its cells stay sharp."""
    from PIL import Image

    out = io.BytesIO()
    with Image.open(io.BytesIO(data)) as picture:
        picture.resize(size, Image.Resampling.NEAREST).save(out, "PNG")
    return out.getvalue()


def _scaled_box(row: Mapping[str, Any], data: bytes) -> dict[str, Any]:
    """RefCOCO's box and its corners in the pixels of the new picture."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as picture:
        factors = (picture.width / SIDE, picture.height / SIDE)
    return {
        key: [value * factors[place % 2] for place, value in enumerate(row[key])]
        for key in ("bbox", "segmentation")
    }
