"""Four processes that read and then write, all at once: nobody meets a locked database."""

import subprocess
import sys
from pathlib import Path

from app.database.engine import build_engine
from app.database.migrate import migrate
from app.database.session import transaction
from app.settings import REPOSITORY_ROOT
from migrations.all_tables import METADATA

_PROCESSES, _TRANSACTIONS = 4, 400
_WRITER = """
import sys
import migrations.all_tables
from app.base_models import repository
from app.base_models.tables import BaseModel
from app.database.engine import build_engine
from app.database.session import transaction
engine = build_engine(sys.argv[1])
for _ in range(int(sys.argv[2])):
    with transaction(engine) as session:
        model = repository.get(session, "counter")
        model.total_bytes += 1
"""


def test_four_writers_lose_nothing_and_see_no_lock(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/db/tailor.sqlite"
    engine = build_engine(url)
    migrate(engine)
    models = METADATA.tables["base_models"]
    row = {"id": "counter", "source": "hub", "name": "Counter", "facts": {}, "total_bytes": 0}
    with transaction(engine) as session:
        session.execute(models.insert().values(**row))
    arguments = [sys.executable, "-c", _WRITER, url, str(_TRANSACTIONS)]
    writers = [
        subprocess.Popen(arguments, cwd=REPOSITORY_ROOT, stderr=subprocess.PIPE, text=True)
        for _ in range(_PROCESSES)
    ]
    for writer in writers:
        _, complaint = writer.communicate(timeout=240)
        assert writer.returncode == 0, complaint
    with transaction(engine, read_only=True) as session:
        counted = session.execute(models.select()).mappings().one()["total_bytes"]
    engine.dispose()
    assert counted == _PROCESSES * _TRANSACTIONS
