"""One text being sorted: the same life as an answer, done in a single turn."""

from dataclasses import dataclass

from worker.inference.errors import ChatServerError
from worker.inference.generation import (
    Broken,
    Finished,
    GenerationRequest,
    Started,
    TextPiece,
)
from worker.inference.loaded_model import LoadedModel


@dataclass
class Sorting:
    """The name of the likeliest kind is the answer; the scores of all come with its end."""

    request: GenerationRequest
    cancelled: bool = False
    done: bool = False

    def step(self, model: LoadedModel) -> None:
        """Read the whole text and say its kind."""
        request = self.request
        request.send(Started())
        kinds = model.kinds_of(request.reference, request.prompt.ids)
        self.done = True
        request.send(TextPiece(kinds[0].kind))
        request.send(Finished("stop", len(request.prompt.ids), 0, tuple(kinds)))

    def break_off(self, error: ChatServerError) -> None:
        self.done = True
        self.request.send(Broken(error))

    def cancel(self) -> None:
        self.cancelled = self.done = True
