"""Start the chat server: `python -m worker.inference.main`. Settings come from the environment."""

import argparse
import logging
import os

from app.runs.methods import Quantization
from worker.few_bits import choose_library


def main() -> None:
    # Nothing here may reach for the network: the libraries look at these when they are imported.
    os.environ.update(
        HF_HUB_OFFLINE="1",
        TRANSFORMERS_OFFLINE="1",
        HF_HUB_DISABLE_TELEMETRY="1",
        TOKENIZERS_PARALLELISM="false",
        TRANSFORMERS_VERBOSITY="error",
        HF_HUB_DISABLE_PROGRESS_BARS="1",
    )
    choose_library(Quantization.NONE)
    import uvicorn

    from app.chat.inference_token import ensure_inference_token
    from app.settings import get_settings
    from app.storage.folders import get_storage
    from worker.inference.catalogue import Catalogue
    from worker.inference.engine import Engine
    from worker.inference.server import create_server

    parser = argparse.ArgumentParser(description="Tailor's chat server.")
    parser.add_argument("--host", default=None, help="address to listen on")
    parser.add_argument("--port", type=int, default=None, help="port to listen on")
    arguments = parser.parse_args()
    settings, storage = get_settings(), get_storage()
    storage.prepare()
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)
    catalogue = Catalogue(storage)
    engine = Engine(catalogue, settings.inference_idle_seconds)
    uvicorn.run(
        create_server(catalogue, engine, ensure_inference_token(settings, storage)),
        host=arguments.host or settings.inference_host,
        port=arguments.port or settings.resolved_inference_port,
        log_level=settings.log_level,
        access_log=False,
        timeout_graceful_shutdown=5,
    )


if __name__ == "__main__":
    main()
