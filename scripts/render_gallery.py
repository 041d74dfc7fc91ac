"""Serve the gallery: every piece of the design system in every state, for our own eyes.

    python scripts/render_gallery.py [port]

It needs no database and no account; the pages stand in templates/gallery/.
"""

import math
import random
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

REPOSITORY_ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY_ROOT))

import uvicorn  # noqa: E402 - the script finds the product beside itself first
from starlette.applications import Starlette  # noqa: E402
from starlette.requests import Request  # noqa: E402
from starlette.responses import HTMLResponse  # noqa: E402
from starlette.routing import Mount, Route  # noqa: E402
from starlette.staticfiles import StaticFiles  # noqa: E402

from app.web.templating import STATIC_FOLDER, TEMPLATE_FOLDER, render  # noqa: E402

POLICY = "default-src 'self'; frame-ancestors 'none'; form-action 'self'; base-uri 'none'"
STEPS = (
    ("examples", "Examples", "1,204 ready"),
    ("base-model", "Base model", "Starter"),
    ("training", "Training", "Version 3 is learning"),
    ("chat", "Try it", "Chat with version 2"),
    ("versions", "Take it", "2 versions"),
)


def main() -> None:
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8188
    uvicorn.run(make_app(), host="127.0.0.1", port=port, log_level="warning")


def make_app() -> Starlette:
    return Starlette(
        routes=[
            Mount("/static", StaticFiles(directory=STATIC_FOLDER)),
            Route("/", _page),
            Route("/{name}", _page),
        ]
    )


async def _page(request: Request) -> HTMLResponse:
    name = request.path_params.get("name", "index")
    if not name.isidentifier() or not (TEMPLATE_FOLDER / "gallery" / f"{name}.html").is_file():
        name = "index"
    request.state.user = SimpleNamespace(
        name="Ada Lindqvist", email="ada@example.org", is_admin=True
    )
    request.state.csrf_token = "gallery"  # noqa: S105 - a page of samples
    request.state.flashes = [("notice", "Saved."), ("problem", "The file could not be read.")]
    page = render(request, f"gallery/{name}.html", _values())
    page.headers["Content-Security-Policy"] = POLICY
    return page


def _values() -> dict[str, object]:
    now = datetime.now(UTC)
    training, held_out = _curves()
    return {
        "now": now,
        "what": "This page does not exist.",
        "why": "It may have been deleted, or it belongs to someone else.",
        "yesterday": now - timedelta(hours=26),
        "training": training,
        "held_out": held_out,
        "statuses": [
            "queued",
            "starting",
            "training",
            "evaluating",
            "saving",
            "paused",
            "succeeded",
            "failed",
            "cancelled",
        ],
        "project": SimpleNamespace(id="1a2b", name="Answer support mail in our voice"),
        "stepper": [
            SimpleNamespace(key=key, title=title, hint=hint, url=f"/project#{key}", state=state)
            for (key, title, hint), state in zip(
                STEPS, ("done", "done", "current", "upcoming", "upcoming"), strict=True
            )
        ],
        "next_step": SimpleNamespace(
            sentence="Version 3 is ready: ask it something.", url="/chat", label="Try it"
        ),
    }


def _curves() -> tuple[list[tuple[int, float]], list[tuple[int, float]]]:
    wobble = random.Random(7)  # noqa: S311 - a drawing
    training = [
        (step, 0.9 + 2.1 * math.exp(-step / 90) + wobble.gauss(0, 0.07))
        for step in range(1, 412, 3)
    ]
    held_out = [(step, 1.05 + 1.9 * math.exp(-step / 100)) for step in range(0, 412, 50)]
    return training, held_out


if __name__ == "__main__":
    main()
