"""Load a base model and let it say a few words: `… main FOLDER SECONDS`.

Runs as a process of its own with no secrets in its environment and a limit on processor time, since
it is the first to touch files that came from elsewhere. Prints one JSON object on standard output:
first_words, has_chat_template, has_pad_token; or problem (a word that app.base_models.checking
knows) and details.
"""

import json
import os
import resource
import sys
import traceback
from pathlib import Path
from typing import Any

from app.base_models.files import weights_bytes
from worker.free_memory import free_ram_bytes

_WORDS = 16
_GREETING = "Hello, how are you?"
_MOST_DETAILS = 4000


class CheckError(Exception):
    """What is wrong, as one word for `problem`."""


def _first_words(folder: Path) -> dict[str, object]:
    from transformers import AutoTokenizer

    # The library's own types promise less than its classes do.
    tokenizer: Any = _loaded("tokenizer", AutoTokenizer, folder)
    model = _loaded_model(folder)
    said = _say(tokenizer, model, _prompt(folder))
    return {
        "first_words": said.strip(),
        "has_chat_template": bool(tokenizer.chat_template),
        "has_pad_token": tokenizer.pad_token is not None,
    }


def _loaded(problem: str, loader: Any, folder: Path, **options: object) -> Any:  # noqa: ANN401
    try:
        return loader.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, **options
        )
    except (KeyError, ValueError) as error:
        if "does not recognize this architecture" in str(error) or "model_type" in str(error):
            raise CheckError("kind") from error
        raise CheckError(problem) from error
    except ImportError as error:
        raise CheckError("kind") from error
    except (RuntimeError, OSError, TypeError, AttributeError, LookupError) as error:
        if isinstance(error, RuntimeError) and "memory" in str(error):
            raise CheckError("memory") from error
        raise CheckError(problem) from error


def _loaded_model(folder: Path) -> Any:  # noqa: ANN401
    from transformers import AutoModelForCausalLM

    _require_memory(folder)
    model, report = _loaded(
        "weights",
        AutoModelForCausalLM,
        folder,
        use_safetensors=True,
        dtype="auto",
        output_loading_info=True,
    )
    if report["missing_keys"] or report.get("mismatched_keys"):
        # The library would fill them with noise and say so in a log that nobody reads.
        raise CheckError("incomplete")
    return model.eval()


def _require_memory(folder: Path) -> None:
    """Refuse weights that do not fit, before other programs on this machine suffer from them.

    Raises:
        CheckError: "memory".
    """
    if weights_bytes(folder) > free_ram_bytes():
        raise CheckError("memory")


def _be_ended_first() -> None:
    """If memory runs out all the same, this process is the one that the system ends."""
    try:
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    except OSError:
        return  # No Linux, or a container without this file: only the order is lost.


def _prompt(folder: Path) -> list[int]:
    """Return what the chat would give the model to read, by the very code of the chat."""
    from worker.inference.errors import ChatServerError
    from worker.inference.prompts import Prompter
    from worker.inference.template_renderer import TemplateRenderer
    from worker.training.answer_places import UnusableConversationError
    from worker.training.examples import Message

    renderer = TemplateRenderer()
    try:
        prompter = Prompter(folder, folder, renderer)
        ids = prompter.prompt([Message(role="user", content=_GREETING)], _WORDS).ids
    except (ChatServerError, UnusableConversationError) as error:
        raise CheckError("template") from error
    finally:
        renderer.close()
    return ids or [0]


def _say(tokenizer: Any, model: Any, ids: list[int]) -> str:  # noqa: ANN401
    import torch

    read = torch.tensor([ids])
    with torch.inference_mode():
        tokens = model.generate(
            input_ids=read,
            attention_mask=torch.ones_like(read),
            max_new_tokens=_WORDS,
            do_sample=False,
            pad_token_id=tokenizer.pad_token_id or tokenizer.eos_token_id or 0,
        )
    return str(tokenizer.decode(tokens[0][len(ids) :], skip_special_tokens=True))


def main() -> None:
    folder, seconds = Path(sys.argv[1]), int(sys.argv[2])
    _be_ended_first()
    # Threads count together, so the limit on processor time is the wall time times the cores.
    limit = seconds * (os.cpu_count() or 1)
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
    answer_stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        answer = _first_words(folder)
    except CheckError as error:
        answer = {"problem": str(error), "details": traceback.format_exc()[-_MOST_DETAILS:]}
    except MemoryError:
        answer = {"problem": "memory", "details": ""}
    except Exception:  # noqa: BLE001 (the process boundary: whatever it is, it is told)
        answer = {"problem": "speech", "details": traceback.format_exc()[-_MOST_DETAILS:]}
    json.dump(answer, answer_stream)
    answer_stream.flush()


if __name__ == "__main__":
    main()
