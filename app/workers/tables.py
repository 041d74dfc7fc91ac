"""Workers that say that they are there."""

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base, JsonObject


class Worker(Base):
    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    """Host and process, and the queue, such as trainer:4711/runs."""
    queue: Mapped[str] = mapped_column(String(20), index=True)
    seen_at: Mapped[float]
    """Seconds since 1970 on the database's clock."""
    device: Mapped[JsonObject | None]
    """An app.workers.device.DeviceFacts; None where nothing is trained (imports, downloads).

    Its keys: host, kind ("cpu" or "cuda"), devices (each with id, name and memory_bytes),
    memory_bytes (of the smallest of them), ram_bytes, cores, libraries (name to version), and
    measured: what trials on the host wrote into runs/measured-<host>.json of the data folder,
    read again at every announcement. All of one row's devices are of one kind, and each trains one
    run at a time.
    """
