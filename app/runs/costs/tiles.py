"""Of how many answer tokens and words of the vocabulary the scores are there at once.

The training calculates them in such tiles (`worker/training/head.py`), and the planner counts them.
"""

from typing import Final

ANSWERS_AT_ONCE: Final = 512
WORDS_AT_ONCE: Final = 1024
# A card calculates small products no faster than large ones.
WORDS_AT_ONCE_ON_A_CARD: Final = 16_384
