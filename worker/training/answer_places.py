"""Where answers stand in a text whose template does not mark them.

It follows from the difference between the text with an answer and the words that ask for it.
"""

from dataclasses import dataclass
from typing import Protocol

from worker.training.examples import Message


class UnusableConversationError(Exception):
    """The template refuses this conversation, such as two questions in a row."""


class Render(Protocol):
    """Lays a conversation out as the model's template has it.

    Raises:
        UnusableConversationError: if the template refuses it.
    """

    def __call__(self, messages: list[Message], *, add_generation_prompt: bool = False) -> str: ...


@dataclass(frozen=True)
class _Around:
    """What a template writes around a last answer.

    Attributes:
        opening: before an answer to come, and not before one that is there.
        lead: before one that is there, and not before one to come: a space or a line break.
        closing: after one that is there.
    """

    opening: str
    lead: str
    closing: str

    def without_opening(self, answer: str) -> str:
        """Return the answer without what the question has opened for it already."""
        own = (self.opening, self.opening.strip())
        return answer.removeprefix(next((one for one in own if answer.startswith(one)), ""))


class AnswerPlaces:
    """Lays conversations out so that each last answer stands where it will be asked for.

    Args:
        render: the template.
    """

    def __init__(self, render: Render) -> None:
        self._render = render
        self._around = self._find_what_stands_around()

    def find(self, messages: list[Message]) -> tuple[str, list[tuple[int, int]]]:
        """Return the text of a conversation, and where in it answers begin and end.

        Raises:
            UnusableConversationError: if the template refuses it.
        """
        is_answered = len(messages) > 1 and messages[-1]["role"] == "assistant"
        prompt = self._render(messages[:-1], add_generation_prompt=True) if is_answered else ""
        text = self._begun_as_asked(messages, prompt, self._render(messages))
        return text, self._spans(messages, prompt, text)

    def _begun_as_asked(self, messages: list[Message], prompt: str, full: str) -> str:
        """Return the text with its last answer after the very words with which it is asked for.

        Some templates open a thought only where the model is to go on, and some write an answer's
        own thoughts elsewhere or leave them out. The answer is then put there as it was written.

        Args:
            messages: the conversation.
            prompt: with which its last answer is asked for; empty if it does not end with one.
            full: the whole as the template has it.
        """
        if self._around is None or not prompt:
            return full
        answer, shown = messages[-1]["content"], prompt.removesuffix(self._around.opening)
        if full.startswith(prompt) and _thought_in(answer) in full[len(prompt) :]:
            return full
        is_whole = full.startswith(shown) and full[len(shown) :].startswith(answer.strip())
        if is_whole:
            return prompt + self._around.without_opening(full[len(shown) :])
        written = self._around.without_opening(answer) + self._around.closing
        return prompt + self._around.lead + written

    def _spans(self, messages: list[Message], prompt: str, full: str) -> list[tuple[int, int]]:
        """Where the answers stand: between the text before an answer and the text with it.

        A template may show an earlier answer otherwise than a last one (without its thoughts, for
        example). Such an answer is not learned at that place, rather than learned wrongly.
        """
        spans: list[tuple[int, int]] = []
        for index, message in enumerate(messages):
            if message["role"] != "assistant" or index == 0:
                continue
            is_last = index == len(messages) - 1
            before = (
                prompt if is_last else self._render(messages[:index], add_generation_prompt=True)
            )
            if not is_last and not full.startswith(self._without_opening(before)):
                # What stands before the answer stands elsewhere in the whole, such as the system's
                # words, so what is common to both ends before the question does.
                continue
            after = full if is_last else self._render(messages[: index + 1])
            start = _common_length(before, full)
            end = _common_length(after, full)
            if end > start and (not spans or start >= spans[-1][1]):
                spans.append((start, end))
        return spans

    def _without_opening(self, prompt: str) -> str:
        return prompt if self._around is None else prompt.removesuffix(self._around.opening)

    def _find_what_stands_around(self) -> _Around | None:
        """Find it by a question with two answers; None if the template refuses such a thing."""
        question = Message(role="user", content="a")
        try:
            prompt = self._render([question], add_generation_prompt=True)
            shown = [
                self._render([question, Message(role="assistant", content=answer)])
                for answer in ("b", "c")
            ]
        except UnusableConversationError:
            return None
        header = shown[0][: _common_length(shown[0], shown[1])]
        opening = prompt[len(header) :] if prompt.startswith(header) else ""
        lead = header.removeprefix(prompt) if header.startswith(prompt) else ""
        closing = shown[0][len(header) + 1 :]
        return _Around(opening, lead if lead.isspace() else "", closing)


def _thought_in(answer: str) -> str:
    """Return what an answer thinks before it says anything; empty if that is nothing."""
    thought, closed, _ = answer.partition("</think>")
    return thought.strip().removeprefix("<think>").strip() if closed else ""


def _common_length(left: str, right: str) -> int:
    """How many characters two texts have in common at their beginning."""
    if right.startswith(left):
        return len(left)
    for index, (a, b) in enumerate(zip(left, right, strict=False)):
        if a != b:
            return index
    return min(len(left), len(right))
