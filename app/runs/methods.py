"""The methods of learning: one table that drives form, validation, documents and tests.

The learning-rate factors are those with the lowest held-out loss among the ones that were tried on
the starter with 96 rows of the sample “Support tickets”, 60 updates (2026-11-25); but BOFT's lies
between two that were tried, and that of full fine-tuning was not measured.
"""

from typing import Final

from app.runs.lora_methods import LORA_METHODS
from app.runs.method_spec import Family, Method, MethodSpec, Quantization
from app.runs.other_methods import OTHER_METHODS

__all__ = ["METHODS", "Family", "Method", "MethodSpec", "Quantization"]

METHODS: Final[dict[Method, MethodSpec]] = LORA_METHODS | OTHER_METHODS
