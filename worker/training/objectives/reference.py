"""What the base model would say: log-probabilities that preferences are measured against.

They are calculated once, before anything is learned, and kept beside the tokens. So no second
model is held in memory, and it does not matter whether a method can be switched off later. Much
data takes long, so the next attempt goes on with what one that was paused had found out.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt
import torch

from app.storage.durable import durable_file, sync_folder, write_durably
from worker.training.batches import lay_out
from worker.training.examples import Split
from worker.training.objectives.kept_answers import KeptAnswers
from worker.training.objectives.objective import Objective, Surroundings, summed_by_row
from worker.training.stopping import StoppedError
from worker.training.tokens import TokenTable

_FOLDER: Final = "reference"
_INDEX_FILE: Final = "index.json"
_UNFINISHED: Final = ".part"

LogProbabilities = npt.NDArray[np.float32]


class Reference:
    """The base model's log-probability of each row's answer, for all items of both splits."""

    def __init__(self, objective: Objective, around: Surroundings) -> None:
        self._objective = objective
        self._around = around
        self._folder = around.run_folder / "tokens" / _FOLDER
        tables = around.tables
        self._tables: dict[Split, TokenTable] = {
            "train": tables.train,
            "validation": tables.validation,
        }
        self._key = self._make_key()
        # Another process may see the lead's files half written, so the lead looks for all.
        if not objective.team.lead_says(here=self._is_whole()):
            self._calculate()
        self._values = {
            id(table): self._mapped(split, table) for split, table in self._tables.items()
        }

    def of(self, table: TokenTable, items: Sequence[int]) -> torch.Tensor:
        """Return the log-probabilities of the items' rows: (items, rows per item), in fp32."""
        values = torch.from_numpy(self._values[id(table)][list(items)])
        return values.to(self._objective.device)

    def _calculate(self) -> None:
        """Ask the base model, and write down what it says."""
        if self._objective.team.is_lead:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            (self._folder / _INDEX_FILE).unlink(missing_ok=True)
        with self._around.as_base():
            for split, table in self._tables.items():
                found = self._of_all(split, table)
                if self._objective.team.is_lead:
                    self._write(split, found)
        if self._objective.team.is_lead:
            write_durably(self._folder / _INDEX_FILE, json.dumps({"key": self._key}).encode())
            for leftover in self._folder.glob(f"*{_UNFINISHED}"):
                leftover.unlink()
            sync_folder(self._folder)
        # The others go on once it is written.
        self._objective.team.sum()

    def _write(self, split: Split, found: LogProbabilities) -> None:
        with durable_file(self._path(split)) as file:
            file.write(found.tobytes())

    def _of_all(self, split: Split, table: TokenTable) -> LogProbabilities:
        """Ask about all items of a split, but for those that an earlier attempt asked about."""
        team = self._objective.team
        shape = (len(table), table.rows_per_item)
        if team.size > 1:
            return self._of_all_together(table, shape)
        kept = KeptAnswers(self._folder / f"{split}-{self._key[:16]}{_UNFINISHED}", shape)
        try:
            self._around.within_memory(self._asked(table, kept.fill, kept.has))
        except StoppedError:
            kept.save()
            raise
        return kept.values

    def _of_all_together(self, table: TokenTable, shape: tuple[int, int]) -> LogProbabilities:
        """Ask with several processes, each about its share."""

        def ask(most_tokens: int) -> LogProbabilities:
            # Made anew for each try, as the shares change with how many tokens fit at once.
            found = np.zeros(shape, dtype=np.float32)
            self._asked(table, found.__setitem__)(most_tokens)
            self._objective.team.sum_tensor(torch.from_numpy(found))
            return found

        return cast("LogProbabilities", self._around.within_memory(ask))

    def _asked(
        self,
        table: TokenTable,
        take_down: Callable[[list[int], LogProbabilities], None],
        is_known: Callable[[list[int]], bool] = lambda _items: False,
    ) -> Callable[[int], None]:
        objective, check_stop = self._objective, self._around.check_stop

        # What is known is passed over group by group, as the sums of a group depend in their last
        # bits on who is in it.
        def ask(items: list[int]) -> None:
            if not is_known(items):
                take_down(items, self._rows(table, items))

        def ask_all(most_tokens: int) -> None:
            objective.ask_all(table, most_tokens, check_stop, ask, passes=table.rows_per_item)

        return ask_all

    def _rows(self, table: TokenTable, items: Sequence[int]) -> LogProbabilities:
        objective = self._objective
        found = np.empty((len(items), table.rows_per_item), dtype=np.float32)
        for part in range(table.rows_per_item):
            batch = lay_out(table, items, objective.filling, objective.device, part)
            told = summed_by_row(objective.loss.log_probabilities(batch), batch)
            found[:, part] = told.cpu().numpy()
        return found

    def _make_key(self) -> str:
        around, recipe = self._around, self._objective.recipe
        # Between two attempts memory may run short, and the same files become a coarser model.
        form = (around.held_as, str(around.dtype))
        parts = (around.tables.key, recipe.base_model_fingerprint, *form)
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _is_whole(self) -> bool:
        try:
            index: Any = json.loads((self._folder / _INDEX_FILE).read_text(encoding="utf-8"))
            return bool(index["key"] == self._key) and all(
                self._path(split).stat().st_size == len(table) * table.rows_per_item * 4
                for split, table in self._tables.items()
            )
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def _path(self, split: Split) -> Path:
        return self._folder / f"{split}.bin"

    def _mapped(self, split: Split, table: TokenTable) -> LogProbabilities:
        shape = (len(table), table.rows_per_item)
        if not len(table):
            return np.empty(shape, dtype=np.float32)
        return np.memmap(self._path(split), dtype=np.float32, mode="r", shape=shape)
