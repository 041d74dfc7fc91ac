"""A conversation keeps its base model, and an answer the model that the chat server named.

Revision: 0003
After: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("conversations", sa.Column("base_model_id", sa.String(length=40), nullable=True))
    op.execute(
        "UPDATE conversations SET base_model_id = COALESCE("
        "(SELECT base_model_id FROM adapters WHERE run_id = conversations.adapter_run_id), "
        "(SELECT base_model_id FROM projects WHERE id = conversations.project_id))"
    )
    op.add_column(
        "chat_replies",
        sa.Column("served_model", sa.String(length=200), server_default="", nullable=False),
    )


def downgrade() -> None:
    op.drop_column("chat_replies", "served_model")
    op.drop_column("conversations", "base_model_id")
