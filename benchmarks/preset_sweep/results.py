"""What has been measured, as JSON lines that only grow: a sweep that was broken off goes on."""

import json
from collections.abc import Iterable
from pathlib import Path

from benchmarks.preset_sweep.data import JsonObject
from benchmarks.preset_sweep.design import Result
from benchmarks.preset_sweep.trial import Trial

RESULTS_FILE = "results.jsonl"


class Results:
    """All results in a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / RESULTS_FILE
        self.all: list[Result] = list(_read(self._file))

    def of(self, model: str, case: str) -> list[Result]:
        return [one for one in self.all if (one.trial.model, one.trial.case) == (model, case)]

    def add(self, trial: Trial, figures: JsonObject) -> Result:
        """Write a result down, at the end of the file."""
        result = Result(trial, figures)
        with self._file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps({**trial.as_json(), "figures": figures}) + "\n")
        self.all.append(result)
        return result


def _read(file: Path) -> Iterable[Result]:
    if not file.exists():
        return
    for line in file.read_text(encoding="utf-8").splitlines():
        # The last line is torn where the machine went down while it was written.
        if line.endswith("}"):
            content = json.loads(line)
            yield Result(Trial.from_json(content), content["figures"])
