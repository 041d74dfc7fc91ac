"""Runs whose base model is held in few bits go to devices that can.

Revision: 0014
After: 0013
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runs", sa.Column("needs_bits", sa.String(length=10), nullable=True))


def downgrade() -> None:
    op.drop_column("runs", "needs_bits")
