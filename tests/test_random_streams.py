"""Named random streams."""

import torch

from xstilts.random_streams import generator, stream_seed


def test_a_stream_is_its_name_seed_and_stage():
    first = torch.rand(4, generator=generator("head", 0, "mnli"))
    torch.manual_seed(3)
    assert torch.equal(first, torch.rand(4, generator=generator("head", 0, "mnli")))
    others = [("adapter", 0, "mnli"), ("head", 1, "mnli"), ("head", 0, "squad"), ("head", 0, "")]
    assert all(
        not torch.equal(first, torch.rand(4, generator=generator(*other))) for other in others
    )
    assert stream_seed("a", 1, "2") != stream_seed("a", 12, "") != stream_seed("a\x001", 2, "")


def test_streams_do_not_change_between_versions():
    """Golden: every trained number hangs on these."""
    assert stream_seed("head", 0, "mnli") == GOLDEN
    assert 0 <= stream_seed("order/0", 7) < 2**63


GOLDEN = 5381042660559204837
