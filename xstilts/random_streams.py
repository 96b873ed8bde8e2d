"""Named random streams, each a pure function of its name, a seed and a stage.

Streams do not depend on the arm, the worker or the group, so two arms with the same seed share
their draws. This makes paired comparisons of arms valid.
"""

import hashlib

import torch


def stream_seed(name: str, seed: int, stage: str = "") -> int:
    """The 63-bit seed of a stream: the first bytes of the SHA-256 of its name, seed and stage."""
    text = "\0".join((name, str(int(seed)), stage))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(name: str, seed: int, stage: str = "") -> torch.Generator:
    """A CPU generator at the start of the stream (name, seed, stage). Equal arguments give equal
    draws on every machine.
    """
    return torch.Generator().manual_seed(stream_seed(name, seed, stage))
