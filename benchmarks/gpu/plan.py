"""The parts of the GPU check, the most important first, and the seconds that each may take."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """A part. function: module:function that returns its result. seconds: after which it is
    stopped.
    """

    function: str
    seconds: int


PARTS: Mapping[str, Part] = {
    "attention": Part("benchmarks.gpu.attention:run", 45),
    "llava-7b": Part("benchmarks.gpu.utilization:llava", 80),
    "qwen-vl-7b": Part("benchmarks.gpu.utilization:qwen_vl", 80),
    "sharded": Part("benchmarks.gpu.sharded:run", 45),
    "two-processes": Part("benchmarks.gpu.sharing:run", 70),
    "numerics": Part("benchmarks.gpu.numerics:run", 155),
}
