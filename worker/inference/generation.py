"""One answer being written: its own memory, its own random numbers, its own way to the client."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from transformers import DynamicCache

from worker.inference.catalogue import ModelReference
from worker.inference.errors import ChatServerError
from worker.inference.kinds import KindShare
from worker.inference.loaded_model import LoadedModel
from worker.inference.prompts import Prompt
from worker.inference.sampling import Sampler, SamplingSettings
from worker.inference.text_stream import Detokeniser, StopWords

PREFILL_TOKENS = 2048
"""So much of a question is read in one turn; longer ones let others have a turn in between."""


@dataclass(frozen=True)
class Started:
    """The model is loaded and the answer begins."""


@dataclass(frozen=True)
class TextPiece:
    text: str


@dataclass(frozen=True)
class Finished:
    reason: str
    """stop or length."""
    prompt_tokens: int
    completion_tokens: int
    kinds: tuple[KindShare, ...] = ()
    """Of a text that was sorted: all kinds, the surest first."""


@dataclass(frozen=True)
class Broken:
    error: ChatServerError


Event = Started | TextPiece | Finished | Broken


@dataclass(frozen=True)
class GenerationRequest:
    """What to write and where to send it.

    Attributes:
        send: called from the engine's thread with each event; must not block.
    """

    reference: ModelReference
    prompt: Prompt
    sampling: SamplingSettings
    stop_words: tuple[str, ...]
    stop_ids: frozenset[int]
    decode: Callable[[Sequence[int]], str]
    send: Callable[[Event], None]


class Generation:
    """The state of one answer between its turns. Used by the engine's thread alone."""

    def __init__(self, request: GenerationRequest) -> None:
        self.request = request
        self.cancelled = False
        self.done = False
        self._unread = list(request.prompt.ids)
        self._seen = list(request.prompt.ids)
        self._written = 0
        self._cache: DynamicCache | None = None
        self._sampler: Sampler | None = None
        self._detokeniser = Detokeniser(request.decode)
        self._stop_words = StopWords(request.stop_words)
        self._end_tokens: frozenset[int] = frozenset()

    def begin(self, model: LoadedModel) -> None:
        sampling = self.request.sampling
        if model.repetition_penalty != 1.0:
            sampling = SamplingSettings(
                sampling.temperature, sampling.top_p, sampling.seed, model.repetition_penalty
            )
        self._end_tokens = model.end_tokens | self.request.stop_ids
        self._sampler = Sampler(sampling)
        self._cache = model.new_cache()
        self.request.send(Started())

    def step(self, model: LoadedModel) -> None:
        """Take one turn: read a piece of the question, or write one token."""
        if self._cache is None or self._sampler is None:
            self.begin(model)
        assert self._cache is not None and self._sampler is not None  # noqa: S101, PT018 (begin made them)
        at_once = PREFILL_TOKENS if model.reads_in_pieces else len(self._unread)
        reading, self._unread = self._unread[:at_once], self._unread[at_once:]
        logits = model.next_logits(reading, self._cache)
        if self._unread:
            return
        token = self._sampler.choose(logits, self._seen)
        if token in self._end_tokens:
            self._finish("stop")
            return
        self._written += 1
        self._seen.append(token)
        self._unread = [token] if model.remembers else list(self._seen)
        self._send_text(self._stop_words.add(self._detokeniser.add(token)))
        if self._stop_words.found:
            self._finish("stop")
        elif self._written >= self.request.prompt.most_new_tokens:
            self._finish("length")

    def break_off(self, error: ChatServerError) -> None:
        self._end()
        self.request.send(Broken(error))

    def cancel(self) -> None:
        self.cancelled = True
        self._end()

    def _finish(self, reason: str) -> None:
        self._send_text(self._stop_words.add(self._detokeniser.finish()))
        self._send_text(self._stop_words.finish())
        if self._stop_words.found:
            reason = "stop"
        self._end()
        self.request.send(Finished(reason, len(self.request.prompt.ids), self._written))

    def _end(self) -> None:
        self.done = True
        self._cache = None

    def _send_text(self, text: str) -> None:
        if text:
            self.request.send(TextPiece(text))
