"""PostgreSQL databases that a test has left, emptied and given to the next one.

Making a database copies thousands of catalogue pages and dropping one waits for a checkpoint, which
took longer than most tests. An emptied one is the same to a test: no row, no number given out, no
connection. It gets another name each time, so that what a test left running does not find it.
"""

from uuid import uuid4

import psycopg
from psycopg import sql

_MOST_SPARE = 2
_VERSIONS = "alembic_version"
_END_CONNECTIONS = """
    SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
_ALL_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> %s"
_USED_SEQUENCES = "SELECT sequencename FROM pg_sequences WHERE last_value IS NOT NULL"
_SHAPE = """
    SELECT md5(string_agg(told, ',' ORDER BY told)) FROM (
        SELECT concat_ws(' ', c.relkind, c.relname, a.attname, a.atttypid, a.attnotnull) AS told
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE c.relnamespace = 'public'::regnamespace AND NOT a.attisdropped
    ) AS everything
"""


def new_name() -> str:
    return f"tailor_test_{uuid4().hex[:12]}"


class SpareDatabases:
    """Copies of one database that has tables and no rows.

    Args:
        server_url: the server's, with the name of any database of it.
        template: the database that is copied.
    """

    def __init__(self, server_url: str, template: str) -> None:
        self._server_url = server_url
        self._template = template
        self._spare: list[str] = []
        with psycopg.connect(self.url(template)) as connection:
            self._shape = _shape(connection)

    def url(self, name: str) -> str:
        return self._server_url.rsplit("/", 1)[0] + "/" + name

    def take(self) -> str:
        """Return the URL of a database without rows, under a name that nobody knows."""
        name = new_name()
        with psycopg.connect(self._server_url, autocommit=True) as connection:
            if self._spare:
                rename = sql.SQL("ALTER DATABASE {} RENAME TO {}")
                old = self._spare.pop()
                connection.execute(rename.format(sql.Identifier(old), sql.Identifier(name)))
            else:
                create = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
                names = (sql.Identifier(name), sql.Identifier(self._template))
                connection.execute(create.format(*names))
                # No test pulls the server's plug, so none needs to wait for its disk.
                lazily = sql.SQL("ALTER DATABASE {} SET synchronous_commit = off")
                connection.execute(lazily.format(sql.Identifier(name)))
        return self.url(name)

    def give_back(self, url: str) -> bool:
        """Empty a database for the next one; False if it is not what it was, and so still there."""
        if len(self._spare) >= _MOST_SPARE:
            return False
        try:
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(_END_CONNECTIONS)
                _empty(connection)
                if _shape(connection) != self._shape:
                    return False
        except psycopg.Error:
            return False
        self._spare.append(url.rsplit("/", 1)[1])
        return True

    def drop_all(self) -> None:
        with psycopg.connect(self._server_url, autocommit=True) as connection:
            for name in self._spare:
                drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
                connection.execute(drop.format(sql.Identifier(name)))
        self._spare.clear()


def _empty(connection: psycopg.Connection) -> None:
    tables = [name for (name,) in connection.execute(_ALL_TABLES, (_VERSIONS,))]
    has_rows = sql.SQL(" UNION ALL ").join(
        sql.SQL("SELECT {} WHERE EXISTS (SELECT FROM {})").format(table, sql.Identifier(table))
        for table in tables
    )
    filled = [sql.Identifier(name) for (name,) in connection.execute(has_rows)]
    # Everything goes, so nobody needs to look for what refers to it. Truncating takes longer: it
    # makes new files for each table and for all that refer to it.
    steps: list[sql.Composable] = [sql.SQL("SET session_replication_role = replica")]
    steps += [sql.SQL("DELETE FROM {}").format(table) for table in filled]
    numbers = [sql.Identifier(name) for (name,) in connection.execute(_USED_SEQUENCES)]
    steps += [sql.SQL("ALTER SEQUENCE {} RESTART").format(name) for name in numbers]
    connection.execute(sql.SQL("; ").join(steps))
    if filled:
        # No autovacuum may run here, and rows that are gone would pile up over a thousand tests.
        connection.execute(sql.SQL("VACUUM {}").format(sql.SQL(", ").join(filled)))


def _shape(connection: psycopg.Connection) -> str:
    row = connection.execute(_SHAPE).fetchone()
    assert row is not None
    return str(row[0])
