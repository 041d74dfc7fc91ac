"""What Celery must be told about the broker that a URL names."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from kombu.transport import TRANSPORT_ALIASES

# A URL cannot name a Python class (an address must never decide what is imported), so the name
# that it uses is put on kombu's list.
_ALIAS: Final = "tailorfolder"
TRANSPORT_ALIASES[_ALIAS] = "app.broker.filesystem:Transport"
for _scheme in ("redis", "rediss"):
    TRANSPORT_ALIASES[_scheme] = "app.broker.redis_queue:Transport"


@dataclass(frozen=True)
class BrokerOptions:
    url: str
    transport_options: dict[str, Any] = field(default_factory=dict)


def broker_options(url: str) -> BrokerOptions:
    """Return Celery's URL and transport options for redis://, rediss:// or filesystem:///folder."""
    parts = urlsplit(url)
    if parts.scheme != "filesystem":
        return BrokerOptions(
            url, {"socket_connect_timeout": 5, "socket_timeout": 30, "health_check_interval": 10}
        )
    folder = Path(unquote(parts.path))
    return BrokerOptions(
        f"{_ALIAS}://localhost", {"queue_folder": str(folder), "polling_interval": 0.1}
    )
