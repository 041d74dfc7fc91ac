"""Runs that fit on no device alone say over how many they must be divided.

Revision: 0013
After: 0012
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "runs", sa.Column("needs_devices", sa.Integer(), nullable=False, server_default="1")
    )


def downgrade() -> None:
    op.drop_column("runs", "needs_devices")
