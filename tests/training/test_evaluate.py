"""What is held back is asked as its row is read."""

from pathlib import Path

import pytest
from tokenizers.processors import TemplateProcessing

from tests.support.run_folders import conversation, make_run_folder, recipe_for
from tests.support.tiny_models import UNMARKED_TEMPLATE, make_tiny_model, make_tokenizer
from tests.support.training_events import prepared_run

BEGIN = "<|user|>"
PASSAGES = [{"id": i, "text": f"What is {i} and {i}? It is so. " * 8} for i in range(6)]
# Of many small pieces, of which some in a row make a word.
LONG_WORDS = [
    {"id": i, "text": "Zw" + "ö" * i + "lf Boxkämpfer jagen Viktor quer. " * 9} for i in range(6)
]
WITHOUT_BLANKS = [{"id": i, "text": f"春眠不覚暁処処聞啼鳥{i}" * 9} for i in range(6)]


@pytest.fixture
def base_that_begins(tmp_path: Path) -> Path:
    """A base model whose texts begin with a token of their own."""
    tokenizer = make_tokenizer()
    tokenizer.bos_token = BEGIN
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{BEGIN} $A", special_tokens=[(BEGIN, tokenizer.convert_tokens_to_ids(BEGIN))]
    )
    folder = make_tiny_model(tmp_path / "base")
    tokenizer.save_pretrained(folder)
    return folder


def test_a_passage_is_asked_for_from_its_first_token_on(
    base_that_begins: Path, tmp_path: Path
) -> None:
    folder = make_run_folder(tmp_path / "run", recipe_for(base_that_begins), PASSAGES, PASSAGES[:3])
    run, _ = prepared_run(folder)
    ids, _ = run.tables.validation.row(0)
    sample = run.evaluator.samples[0]
    assert sample.prompt_ids == ids[: len(sample.prompt_ids)].tolist()
    assert sample.prompt_ids[0] == run.chat.tokenizer.bos_token_id
    # People are shown the words alone.
    assert str(PASSAGES[0]["text"]).startswith(sample.question)
    assert str(PASSAGES[0]["text"])[len(sample.question) :].startswith(
        sample.expected.removesuffix(" …")
    )


@pytest.mark.parametrize("passages", [LONG_WORDS, WITHOUT_BLANKS])
def test_a_passage_is_cut_between_words_where_there_are_any(
    tmp_path: Path, passages: list[dict[str, str]]
) -> None:
    base = make_tiny_model(tmp_path / "base")
    folder = make_run_folder(tmp_path / "run", recipe_for(base), passages, passages[:3])
    run, _ = prepared_run(folder)
    for sample, passage in zip(run.evaluator.samples, passages[:3], strict=True):
        assert 12 < len(sample.prompt_ids) <= 24
        if passages is LONG_WORDS:
            assert passage["text"].removeprefix(sample.question).startswith(" ")


def test_questions_with_instructions_are_asked_where_the_template_has_no_place_for_them(
    tmp_path: Path,
) -> None:
    refusing = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        + UNMARKED_TEMPLATE
    )
    base = make_tiny_model(tmp_path / "base", template=refusing)
    lines = [conversation(i, f"What is {i}?", f"It is {i}.") for i in range(8)]
    for line in lines:
        line["messages"].insert(0, {"role": "system", "content": "Be kind."})
    folder = make_run_folder(tmp_path / "run", recipe_for(base, epochs=1), lines, lines[:4])
    run, events = prepared_run(folder)
    assert len(run.evaluator.samples) == 3
    run.train()
    run.cleanup()
    assert events.only("result")["recall"]["asked"] == len(lines)
