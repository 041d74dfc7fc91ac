"""What the tests of this folder start from."""

from tests.support.number_formats import in_bfloat16, in_float32, number_format

__all__ = ["in_bfloat16", "in_float32", "number_format"]
