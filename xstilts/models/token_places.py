"""What a family computes from one segment alone, without its model: positions and token types.

It can be pickled, so that other processes pack batches.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xstilts.models.families import contract
from xstilts.models.special_tokens import Layout

if TYPE_CHECKING:
    from torch import Tensor

    from xstilts.models.batch import Segment


@dataclass(frozen=True)
class FamilyPlacement:
    """The `batch.Placement` of a family.

    config: of the transformers model. layout: needed by families with token types.
    """

    family: str
    config: Any
    layout: Layout | None = None

    def positions(self, segment: "Segment") -> "Tensor":
        """Position ids of one segment alone: [n], or [4, n] for Qwen-VL. ValueError for a segment
        that is too long, or whose images do not fit.
        """
        of = contract(self.family)
        if segment.images and of.vision is None:
            raise ValueError(f"family {self.family} does not take images")
        return of.positions(segment, self.config)

    def token_types(self, segment: "Segment") -> "Tensor | None":
        """Token type ids of one segment alone, or None in families without."""
        import torch

        if not contract(self.family).token_types:
            return None
        if self.layout is None:
            raise ValueError(
                f"family {self.family} has token types: pass the layout of its tokenizer"
            )
        if self.layout.second_type >= int(self.config.type_vocab_size):
            return torch.zeros(len(segment.input_ids), dtype=torch.long)
        return torch.tensor(self.layout.token_types(segment.input_ids), dtype=torch.long)
