"""What a model answers to several questions at once: its likeliest words, without any chance.

A pass through the model costs little more for ten questions than for one, because most of it goes
into reading the weights.
"""

import inspect
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from transformers import DynamicCache

from worker.methods.front import memory_name
from worker.methods.learner import Learner
from worker.training.chat_templates import ChatFormat
from worker.training.objectives.objective import Objective
from worker.training.questions import LEAST_ANSWER_TOKENS, SampleQuestion
from worker.training.team.team import ALONE, Team

CUT_OFF: Final = " …"


@dataclass(frozen=True)
class Answer:
    """What a model said.

    Attributes:
        text: its words.
        tokens: how many they are in its own measure.
        is_whole: whether it ended by itself; otherwise it was cut off.
    """

    text: str
    tokens: int
    is_whole: bool

    @property
    def shown(self) -> str:
        """The words, and three dots where there would have been more."""
        return self.text if self.is_whole else self.text + CUT_OFF


def answers_to(
    questions: Sequence[SampleQuestion],
    learner: Learner,
    objective: Objective,
    *,
    tokens_at_once: int,
    seconds: float,
    check_stop: Callable[[], None],
) -> Iterator[tuple[int, Answer]]:
    """Yield the place of each question and its answer, those with the shortest questions first.

    Args:
        questions: in the order that the places are of.
        learner: the base model and what it wears at the moment.
        objective: how its questions and answers are written, and with whom it answers.
        tokens_at_once: how many tokens may be in its memory; a longer question stands alone.
        seconds: for all of them; what is not said by then is cut off.
        check_stop: raises StoppedError when the run is asked to stop.
    """
    deadline = time.monotonic() + seconds
    to_come = len(questions)
    for group in _groups(questions, tokens_at_once if _reads_side_by_side(learner) else 0):
        begin = time.monotonic()
        said = likeliest_answers(
            learner.base,
            objective.chat,
            [questions[place].prompt_ids for place in group],
            check_stop,
            cache=learner.new_cache(),
            most_tokens=[questions[place].most_tokens for place in group],
            deadline=begin + (deadline - begin) * len(group) / to_come,
            team=objective.team,
        )
        to_come -= len(group)
        yield from zip(group, said, strict=True)


@torch.no_grad()
def likeliest_answers(
    model: Any,  # noqa: ANN401 (transformers' models share no type)
    chat: ChatFormat,
    prompts: Sequence[list[int]],
    check_stop: Callable[[], None],
    *,
    most_tokens: Sequence[int],
    cache: DynamicCache | None = None,
    deadline: float = math.inf,
    team: Team = ALONE,
) -> list[Answer]:
    """Return the model's likeliest answer to each question.

    Args:
        model: the base model, with or without an adapter on its layers.
        chat: how this model's answers end.
        prompts: the questions; several only for models that take positions and a mask.
        check_stop: raises StoppedError when the run is asked to stop.
        most_tokens: after so many tokens each answer is cut off.
        cache: what the model remembers before it reads a question, such as virtual tokens.
        deadline: all are cut off at this moment of the monotonic clock, in seconds.
        team: who else answers the same, of a model that may be divided among them.
    """
    device = next(model.parameters()).device
    memory = memory_name(model)
    ids, mask = _side_by_side(prompts, chat.tokenizer.pad_token_id or 0, device)
    if cache is not None and len(prompts) > 1:
        remembered = mask.new_ones(len(prompts), cache.get_seq_length())
        cache.batch_repeat_interleave(len(prompts))
        mask = torch.cat([remembered, mask], dim=1)
    given: list[list[int]] = [[] for _ in prompts]
    ended = [False] * len(prompts)

    def goes_on(row: int) -> bool:
        return not ended[row] and len(given[row]) < most_tokens[row]

    # Clocks differ, so the lead's says how long an answer may take.
    while team.lead_says(
        here=any(map(goes_on, range(len(prompts)))) and time.monotonic() < deadline
    ):
        check_stop()
        output = model(
            input_ids=ids,
            use_cache=True,
            logits_to_keep=1,
            **{memory: cache},
            **(_places(mask, ids.shape[1]) if len(prompts) > 1 else {}),
        )
        cache = getattr(output, memory, None)
        words = output.logits[:, -1].argmax(-1, keepdim=True)
        # Who gives no memory of what it has read must read it again for each word.
        ids = words if cache is not None else torch.cat([ids, words], dim=1)
        for row, token in enumerate(words[:, 0].tolist()):
            if goes_on(row):
                ended[row] = token in chat.stop_ids
                given[row] += [] if ended[row] else [token]
        # Answers that are over stand still: further on are places that the model may not know.
        news = [[int(goes_on(row))] for row in range(len(prompts))]
        mask = torch.cat([mask, mask.new_tensor(news)], dim=1)
    return [
        Answer(_text(chat, tokens), len(tokens), is_whole=end)
        for tokens, end in zip(given, ended, strict=True)
    ]


def answer(
    model: Any,  # noqa: ANN401 (transformers' models share no type)
    chat: ChatFormat,
    prompt_ids: list[int],
    most_tokens: int = LEAST_ANSWER_TOKENS,
) -> str:
    """Return the model's likeliest answer to one question, as it is shown."""
    (said,) = likeliest_answers(model, chat, [prompt_ids], lambda: None, most_tokens=[most_tokens])
    return said.shown


def _reads_side_by_side(learner: Learner) -> bool:
    """Whether questions of different lengths can stand beside each other, filled up on the left.

    The model must be told which tokens are filling and where each text begins, and must not carry a
    state from token to token, into which the filling would go. What stands in its memory before the
    questions must be something that can be copied for each of them.
    """
    model: Any = learner.base
    told = inspect.signature(model.forward).parameters
    return (
        {"attention_mask", "position_ids"} <= told.keys()
        and not model._is_stateful  # noqa: SLF001 (transformers' own generation asks the same)
        and (learner.front is None or _can_be_copied(DynamicCache(config=model.config)))
    )


def _can_be_copied(cache: DynamicCache) -> bool:
    """Whether all layers can lay out what they remember for several rows; convolutions cannot."""
    return all(hasattr(layer, "batch_repeat_interleave") for layer in cache.layers)


def _groups(questions: Sequence[SampleQuestion], tokens_at_once: int) -> list[list[int]]:
    """Divide questions into those that are answered together, the shortest first."""
    sizes = [len(question.prompt_ids) + question.most_tokens for question in questions]
    groups: list[list[int]] = []
    for place in sorted(range(len(questions)), key=sizes.__getitem__):
        if groups and sizes[place] * (len(groups[-1]) + 1) <= tokens_at_once:
            groups[-1].append(place)
        else:
            groups.append([place])
    return groups


def _side_by_side(
    prompts: Sequence[list[int]], filling: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids, filled up on the left, and which are to be read: both (prompts, longest)."""
    longest = max(map(len, prompts))
    ids = [[filling] * (longest - len(prompt)) + prompt for prompt in prompts]
    mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def _places(mask: torch.Tensor, new: int) -> dict[str, torch.Tensor]:
    """Say of the last so many tokens where in their texts they stand."""
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    return {"attention_mask": mask, "position_ids": positions[:, -new:]}


def _text(chat: ChatFormat, tokens: list[int]) -> str:
    return str(chat.tokenizer.decode(tokens, skip_special_tokens=True)).strip()
