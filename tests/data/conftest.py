"""The tiny processors for the tests of encoding."""

import pytest

from tests.data.encoding import SEEN, Processors
from xstilts.miniature.backbones import build_tiny
from xstilts.models.processor import Processor, load_processor


@pytest.fixture(scope="package")
def processor(tmp_path_factory: pytest.TempPathFactory) -> Processors:
    """Family → the processor of a tiny backbone, built once."""
    processors: dict[str, Processor] = {}
    settings = {
        "hidden": 16,
        "ff": 16,
        "layers": 1,
        "heads": 2,
        "vision_hidden": 16,
        "vision_ff": 16,
    }

    def build(family: str) -> Processor:
        if family not in processors:
            folder = build_tiny(
                family, 0, SEEN, {**settings, "vocab_size": 600}, tmp_path_factory.mktemp(family)
            )
            processors[family] = load_processor(folder, family)
        return processors[family]

    return build
