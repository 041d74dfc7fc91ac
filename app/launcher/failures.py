"""Why Tailor could not start or do what a command asked, as sentences for the host."""

from sqlalchemy.exc import ArgumentError, OperationalError, SQLAlchemyError

from app.settings import Settings


class StartError(Exception):
    """Tailor cannot start; the text says why and what to do."""


def explain(error: Exception, settings: Settings) -> str:
    """Say what a failed start means and which setting it is about."""
    if isinstance(error, StartError):
        return str(error)
    if isinstance(error, ArgumentError):
        return (
            f"TAILOR_DATABASE_URL cannot be used: {error}. It must look like "
            "postgresql://user:password@host/name or sqlite:////full/path/to/file."
        )
    if isinstance(error, SQLAlchemyError):
        return _explain_database(error, settings)
    if isinstance(error, OSError):
        place = f" ({error.filename})" if error.filename else ""
        is_storage = settings.storage_url and str(error.filename).startswith(
            str(settings.storage_root)
        )
        variable, folder = (
            ("TAILOR_STORAGE_URL", settings.storage_root)
            if is_storage
            else ("TAILOR_DATA_DIR", settings.data_dir)
        )
        return (
            f"The machine refused{place}: {error.strerror or error}. Check that the folder in "
            f"{variable}, {folder}, exists and may be written to."
        )
    return f"{type(error).__name__}: {error}"


def _explain_database(error: SQLAlchemyError, settings: Settings) -> str:
    reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
    if "no such table" in reason or ("does not exist" in reason and "relation" in reason):
        return "The database has no tables of this version yet. Run: tailor migrate"
    if isinstance(error, OperationalError) and settings.database_url:
        return (
            f"The database does not answer: {reason}. "
            "Check TAILOR_DATABASE_URL, and that the database server runs."
        )
    return f"The database refused: {reason}. Its place is set by TAILOR_DATABASE_URL."
