"""The process that reads uploaded bytes: `python -m app.datasets.readers.child inspect|read FILE`.

It holds itself to limits before it opens the file, knows no database and no settings, and writes
JSON lines to its standard output. On standard input come the plan and the mapping, or for a first
look the encoding that somebody chose.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from app.datasets.readers.drafts import Draft, Mapping, drafts_of
from app.datasets.readers.inspecting import inspect
from app.datasets.readers.limits import hold_to_limits
from app.datasets.readers.problems import NeedsTooMuchError, UnreadableFileError
from app.datasets.readers.reading import read_items
from app.datasets.readers.records import LeftOut, Plan
from app.datasets.readers.text_stream import Source

_BATCH_ITEMS: Final = 500
_BATCH_CHARACTERS: Final = 1_000_000


def main(arguments: list[str]) -> int:
    purpose, path = arguments
    hold_to_limits(purpose)
    source = Source(Path(path))
    request = json.load(sys.stdin)
    try:
        if purpose == "inspect":
            _write({"understood": inspect(source, request["encoding"])})
        else:
            for message in _batches(source, request):
                _write(message)
            _write({"end": True})
    except UnreadableFileError as problem:
        _write_problem(problem)
    except MemoryError:
        _write_problem(NeedsTooMuchError())
    return 0


def _batches(source: Source, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    plan, mapping = Plan.from_json(request["plan"]), Mapping.from_json(request["mapping"])
    plan.has_header = mapping.has_header
    drafts: list[dict[str, Any]] = []
    left_out: list[dict[str, Any]] = []
    rows = characters = 0
    for item in read_items(source, plan):
        rows += 1
        for outcome in drafts_of(item, mapping):
            if isinstance(outcome, LeftOut):
                left_out.append(asdict(outcome))
                characters += 300
            else:
                drafts.append(asdict(outcome))
                characters += _length(outcome)
            if len(drafts) + len(left_out) >= _BATCH_ITEMS or characters >= _BATCH_CHARACTERS:
                yield {"rows": rows, "drafts": drafts, "left_out": left_out}
                drafts, left_out, characters = [], [], 0
    yield {"rows": rows, "drafts": drafts, "left_out": left_out}


def _length(draft: Draft) -> int:
    earlier = sum(len(turn["content"]) for turn in draft.earlier)
    texts = (draft.answer, draft.question, draft.instructions, draft.rejected)
    return sum(map(len, texts)) + earlier


def _write_problem(problem: UnreadableFileError) -> None:
    _write({"problem": {"what": problem.what, "why": problem.why, "next_step": problem.next_step}})


def _write(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message, ensure_ascii=True) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
