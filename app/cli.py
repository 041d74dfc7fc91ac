"""The command line. Each command reads the settings, says what it does, and fails in sentences."""

import asyncio
import logging
import runpy
import sys
from enum import StrEnum
from typing import Annotated, NoReturn

import typer

from app.audit.service import Actor, act_as
from app.errors import DomainError
from app.settings import Settings, SettingsError, get_settings
from app.version import VERSION

cli = typer.Typer(
    help="Tailor fits a language model to your own examples, on your own machine.",
    no_args_is_help=True,
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
users = typer.Typer(
    help="Add people and help those who forgot their password.", no_args_is_help=True
)
cli.add_typer(users, name="user")

_COMMAND_LINE = Actor(name="the command line")


class Queue(StrEnum):
    RUNS = "runs"
    LIGHT = "light"
    ALL = "all"


def _fail(sentence: str) -> NoReturn:
    typer.echo(sentence, err=True)
    raise typer.Exit(1)


def _settings() -> Settings:
    try:
        settings = get_settings()
    except SettingsError as error:
        _fail(f"Tailor cannot start with these settings.\n{error}\nSee docs/settings.md.")
    logging.basicConfig(
        level=settings.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    # One line for each step of the tables' history is news for nobody.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    return settings


@cli.callback()
def tailor(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print Tailor's version.", is_eager=True)
    ] = False,
) -> None:
    if version:
        typer.echo(VERSION)
        raise typer.Exit


@cli.command()
def up() -> None:
    """Start all of Tailor on this machine: pages, workers and chat server. Ctrl-C stops all."""
    from app.launcher.up import up as start_everything

    settings = _settings()
    logging.getLogger("httpx").setLevel(logging.WARNING)
    start_everything(settings)


@cli.command()
def web() -> None:
    """Serve the pages. Needs the database, the storage folder and the job queue."""
    import uvicorn

    from app.database.engine import get_engine
    from app.launcher.database_check import require_own_tables
    from app.main import create_app

    settings = _settings()
    require_own_tables(get_engine())
    config = uvicorn.Config(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_level=settings.log_level,
        access_log=False,
        # "auto" would go on without the services beside the pages if one of them cannot start.
        lifespan="on",
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies or None,
        # Streams to open pages end at once when Tailor stops; browsers come back by themselves.
        timeout_graceful_shutdown=3,
    )
    asyncio.run(uvicorn.Server(config).serve())


@cli.command()
def worker(
    queue: Annotated[
        Queue, typer.Option(help="runs: training. light: imports and downloads. all: both.")
    ] = Queue.ALL,
) -> None:
    """Do the work: train models, import examples, download base models."""
    from app.database.engine import get_engine
    from app.launcher.database_check import require_own_tables

    settings = _settings()
    require_own_tables(get_engine())
    if queue is Queue.ALL:
        from app.launcher.processes import ProcessGroup, run_until_signal
        from app.launcher.programs import WORKER_OF_QUEUE

        run_until_signal(
            ProcessGroup(list(WORKER_OF_QUEUE.values()), settings.data_dir / "logs", echo=True)
        )
        return
    sys.argv = ["worker.celery_app", "--queue", queue.value]
    runpy.run_module("worker.celery_app", run_name="__main__")


@cli.command("worker-health", hidden=True)
def worker_health() -> None:
    """Exit with 0 while a worker for each queue runs on this machine (for containers)."""
    from app.launcher.health import missing_workers

    if missing := missing_workers():
        _fail(f"No worker runs for: {', '.join(missing)}.")


@cli.command()
def inference() -> None:
    """Serve the chat: an OpenAI-compatible server for base models and adapters."""
    _settings()
    sys.argv = ["worker.inference.main"]
    runpy.run_module("worker.inference.main", run_name="__main__")


@cli.command()
def migrate() -> None:
    """Bring the database to the tables of this version. Safe to repeat."""
    from app.launcher.up import prepare

    settings = _settings()
    prepare(settings)
    typer.echo("The database is up to date.")


@cli.command("setup-link")
def setup_link() -> None:
    """Print a fresh one-time link that creates the first administrator."""
    from app.launcher.up import fresh_setup_link, prepare

    settings = _settings()
    prepare(settings)
    link = fresh_setup_link(settings)
    if link is None:
        _fail(
            "There is an account already, so there is no set-up link. "
            "Forgot the password? Use: tailor user reset-password you@example.org"
        )
    typer.echo(link)


@users.command("add")
def user_add(
    email: Annotated[str, typer.Argument(help="What the person signs in with.")],
    name: Annotated[str, typer.Option(help="How the pages call the person.")] = "",
    *,
    admin: Annotated[bool, typer.Option("--admin", help="May add people and models.")] = False,
) -> None:
    """Add a person. Asks for the password; it is never part of the command."""
    from app.accounts.service import add_user_by_hand
    from app.database.engine import get_engine
    from app.database.session import transaction
    from app.launcher.database_check import require_own_tables

    _settings()
    require_own_tables(get_engine())
    password = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    try:
        with transaction() as session:
            act_as(session, _COMMAND_LINE)
            add_user_by_hand(
                session, email=email, name=name or email, password=password, is_admin=admin
            )
    except DomainError as error:
        _fail(str(error))
    typer.echo(f"{email} can sign in now.")


@users.command("reset-password")
def user_reset_password(
    email: Annotated[str, typer.Argument(help="Whose password was forgotten.")],
) -> None:
    """Set a new password and sign the person out everywhere."""
    from app.accounts.service import reset_password
    from app.database.engine import get_engine
    from app.database.session import transaction
    from app.launcher.database_check import require_own_tables

    _settings()
    require_own_tables(get_engine())
    password = typer.prompt("New password", hide_input=True, confirmation_prompt=True)
    try:
        with transaction() as session:
            act_as(session, _COMMAND_LINE)
            reset_password(session, email=email, password=password)
    except DomainError as error:
        _fail(str(error))
    typer.echo(f"{email} has a new password and is signed out everywhere.")


@cli.command()
def doctor() -> None:
    """Say in plain words what works on this machine and what does not."""
    from app.launcher.doctor import examine

    healthy = True
    for finding in examine(_settings()):
        typer.echo(f"{finding.mark} {finding.name}: {finding.sentence}")
        healthy = healthy and not finding.is_problem
    raise typer.Exit(0 if healthy else 1)


@cli.command()
def settings(
    *,
    markdown: Annotated[bool, typer.Option("--markdown", help="As docs/settings.md.")] = False,
) -> None:
    """List every setting, its default, and what it is set to."""
    from app.launcher.settings_table import as_markdown, as_text

    typer.echo(as_markdown() if markdown else as_text(_settings()))


@cli.command()
def methods(
    *,
    markdown: Annotated[bool, typer.Option("--markdown", help="As docs/methods.md.")] = False,
) -> None:
    """List every method of learning."""
    from app.runs.methods_document import as_markdown, as_text

    typer.echo(as_markdown() if markdown else as_text())


def main() -> None:
    """Run a command; what can go wrong at a start is told in a sentence."""
    from alembic.util.exc import CommandError
    from sqlalchemy.exc import SQLAlchemyError

    from app.launcher.failures import StartError, explain

    try:
        cli()
    except (StartError, SQLAlchemyError, CommandError, OSError) as error:
        logging.getLogger(__name__).debug("The command failed.", exc_info=True)
        sys.stderr.write(explain(error, get_settings()) + "\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
