"""Does the job queue answer? Asked before a start, and by the doctor."""

from kombu.connection import Connection
from kombu.exceptions import OperationalError

from app.broker.options import broker_options
from app.settings import Settings


def broker_problem(settings: Settings) -> str:
    """Return one sentence that says what is wrong, or an empty string."""
    options = broker_options(settings.resolved_broker_url)
    kind = settings.resolved_broker_url.split(":", 1)[0]
    connection = Connection(options.url, transport_options=options.transport_options)
    try:
        connection.ensure_connection(max_retries=1, timeout=5)
    except (OperationalError, OSError) as error:
        return f"The job queue ({kind}) does not answer: {error}. Check TAILOR_BROKER_URL."
    finally:
        connection.release()
    return ""
