"""Renders chat templates in a process of its own: `python -m worker.inference.template_child`.

A chat template is a program that came with somebody's model. Jinja's immutable sandbox keeps it
from reaching anything, but does not bound its time or memory; the limits of this process do. One
JSON request a line comes in, one JSON answer a line goes out. The rendering itself is the one of
transformers, so that chat, training and everybody else's code read a conversation alike.
"""

import json
import resource
import sys
from math import ceil
from typing import Any

from jinja2 import TemplateError
from transformers.utils.chat_template_utils import render_jinja_template

CPU_SECONDS = 4
_MEMORY_BYTES = 1536 * 1024**2
_TEMPLATE_FAULTS = (
    TemplateError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
    ArithmeticError,
    LookupError,
)


def render(request: dict[str, Any]) -> dict[str, Any]:
    """Return the text of a conversation and, if they were asked for, where its answers stand."""
    rendering: Any = render_jinja_template  # its own annotation leaves out the spans
    texts, spans = rendering(
        conversations=[request["messages"]],
        chat_template=request["template"],
        **request["options"],
        **request["special_tokens"],
    )
    return {"text": str(texts[0]), "spans": spans[0] if spans else []}


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
            answer = render(json.loads(line))
        except _TEMPLATE_FAULTS as error:
            answer = {"problem": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)  # noqa: T201 (the answer goes to the parent's pipe)


if __name__ == "__main__":
    main()
