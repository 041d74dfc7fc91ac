"""Give every token a row of its own, also those that the training text hardly holds.

Byte-pair encoding makes tokens on the way to longer ones, such as “ettle” on the way to “ kettle”.
The text holds the longer one only, so training pushes all such rows to one and the same place. As
the rows are the output head too, and tuning leaves them as they are, no tuning could ever choose
between them: “Kettle's on” came out as another token of that place. Rows that differ a little cost
the model nothing, because it still finds all of them unlikely.
"""

from __future__ import annotations

from typing import cast

import torch
from torch.nn import functional
from transformers import LlamaForCausalLM

_SAME_DIRECTION = 0.95
_SHARE = 0.5
"""Length of what is added, as a share of the row's own."""
_SEED = 7


@torch.no_grad()
def tell_unseen_tokens_apart(model: LlamaForCausalLM, pad_token_id: int) -> int:
    """Spread the rows that lie where the padding's row lies; return how many there were.

    The padding is never seen either, and so marks the place. A second call finds nothing to do.
    """
    rows = cast("torch.Tensor", model.get_input_embeddings().weight)
    generator = torch.Generator().manual_seed(_SEED)
    added = functional.normalize(torch.randn(rows.shape, generator=generator), dim=1)
    known = rows.detach().float().cpu()
    unseen = functional.cosine_similarity(known, known[pad_token_id][None]) > _SAME_DIRECTION
    unseen[pad_token_id] = False
    spread = known[unseen] + _SHARE * known[unseen].norm(dim=1, keepdim=True) * added[unseen]
    rows[unseen.to(rows.device)] = spread.to(rows)
    return int(unseen.sum())
