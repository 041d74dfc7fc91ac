"""How many bytes a text takes, on both databases."""

from sqlalchemy import Integer
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class octets(FunctionElement[int]):  # noqa: N801 (reads as an SQL function)
    """The length of a text in UTF-8, in bytes."""

    type = Integer()
    inherit_cache = True


@compiles(octets, "postgresql")
def _postgresql_octets(element: octets, compiler: SQLCompiler, **options: object) -> str:
    return f"octet_length({compiler.process(element.clauses, **options)})"


@compiles(octets, "sqlite")
def _sqlite_octets(element: octets, compiler: SQLCompiler, **options: object) -> str:
    # It learned octet_length in 2023 only, and older ones are still in use.
    return f"length(CAST({compiler.process(element.clauses, **options)} AS BLOB))"
