"""What a run did for want of memory, and how far its reading of the examples is.

Revision: 0010
After: 0009
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("memory_note", sa.Text(), nullable=False, server_default=""))
        batch_op.add_column(sa.Column("phase_share", sa.Double(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.drop_column("phase_share")
        batch_op.drop_column("memory_note")
