"""Which arithmetic this Tailor has, beside that of the libraries."""

from typing import Final

ARITHMETIC: Final = 1
"""To be raised with every change after which the same examples give other tokens or other sums: of
the encoders, of the order of rows, of lanes, tiles or micro-batches. What an older Tailor has begun
then begins anew; gone on with, it would end as no run from the start does.
"""
