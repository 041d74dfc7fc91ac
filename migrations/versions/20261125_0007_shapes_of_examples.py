"""Examples may hold two answers, a thumb, or the name of a kind.

Revision: 0007
After: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "examples",
        sa.Column("shape", sa.String(length=20), server_default="answer", nullable=False),
    )
    op.add_column("examples", sa.Column("rejected", sa.Text(), server_default="", nullable=False))
    op.add_column("examples", sa.Column("is_liked", sa.Boolean(), nullable=True))
    op.execute("UPDATE examples SET shape = 'passage' WHERE question = ''")
    op.create_index("ix_examples_project_shape", "examples", ["project_id", "shape"])


def downgrade() -> None:
    op.drop_index("ix_examples_project_shape", table_name="examples")
    op.drop_column("examples", "is_liked")
    op.drop_column("examples", "rejected")
    op.drop_column("examples", "shape")
