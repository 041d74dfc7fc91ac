"""Runs that are asked to pause, or to finish early.

Revision: 0011
After: 0010
"""

import sqlalchemy as sa
from alembic import op

from app.database.base import UtcDateTime

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("pause_requested_at", UtcDateTime(), nullable=True))
        batch_op.add_column(sa.Column("finish_requested_at", UtcDateTime(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.drop_column("finish_requested_at")
        batch_op.drop_column("pause_requested_at")
