"""Renders chat templates in a process of its own: `python -m worker.inference.template_child`.

A chat template is a program that came with somebody's model. Jinja's immutable sandbox keeps it
from reaching anything, but does not bound its time or memory; the limits of this process do. One
JSON request a line comes in, one JSON answer a line goes out.

The environment is the one that transformers gives to chat templates; a test holds both together.
"""

import json
import resource
import sys
from datetime import datetime
from functools import cache
from math import ceil
from typing import Any

from jinja2 import Template, TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment

CPU_SECONDS = 4
_MEMORY_BYTES = 1024**3
_TEMPLATE_FAULTS = (
    TemplateError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
    ArithmeticError,
    LookupError,
)


class GenerationMarks(Extension):
    """The {% generation %} block marks the assistant's words for training; here it is plain."""

    tags = {"generation"}  # noqa: RUF012 (Jinja's own declaration)

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_inside"), [], [], body).set_lineno(line)

    def _inside(self, caller: Macro) -> str:
        return str(caller())


def _raise(message: str) -> None:
    raise TemplateError(message)


def _to_json(
    value: object,
    ensure_ascii: bool = False,  # noqa: FBT001, FBT002 (templates call it this way)
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,  # noqa: FBT001, FBT002
) -> str:
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _now(pattern: str) -> str:
    return datetime.now().strftime(pattern)  # noqa: DTZ005 (templates mean the local day)


@cache
def _compile(source: str) -> Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationMarks, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = _now
    return environment.from_string(source)


def render(request: dict[str, Any]) -> str:
    """Render the request's template with its messages and special tokens."""
    return _compile(request["template"]).render(
        messages=request["messages"],
        tools=None,
        documents=None,
        add_generation_prompt=True,
        **request["special_tokens"],
    )


def _allow_cpu_seconds(seconds: int) -> None:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    spent = ceil(usage.ru_utime + usage.ru_stime)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (spent + seconds, hard))


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    for line in sys.stdin:
        _allow_cpu_seconds(CPU_SECONDS)
        try:
            answer = {"text": render(json.loads(line))}
        except _TEMPLATE_FAULTS as error:
            answer = {"problem": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)  # noqa: T201 (the answer goes to the parent's pipe)


if __name__ == "__main__":
    main()
