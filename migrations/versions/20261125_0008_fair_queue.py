"""The queue's turns, what runs need of a device, who had one how long, and what is allowed.

Revision: 0008
After: 0007
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
    with op.batch_alter_table("runs", schema=None) as batch_op:
        # Whatever waits now keeps its order: among equal turns the time of asking decides.
        batch_op.add_column(sa.Column("turn", sa.Double(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("needs_kind", sa.String(length=10), nullable=True))
        batch_op.add_column(sa.Column("needs_memory_bytes", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("device", json, nullable=True))
        batch_op.create_index("ix_runs_queue", ["status", "turn", "created_at", "id"])
        batch_op.create_index("ix_runs_person_status", ["requested_by_id", "status"])
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.alter_column("turn", existing_type=sa.Double(), server_default=None)
    op.create_table(
        "queue_limits",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("person_id", sa.String(length=16), nullable=True),
        sa.Column("runs_at_once", sa.Integer(), nullable=True),
        sa.Column("device_hours_a_week", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(
            ["person_id"],
            ["users.id"],
            name=op.f("fk_queue_limits_person_id_users"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_queue_limits")),
        sa.UniqueConstraint("person_id", name=op.f("uq_queue_limits_person_id")),
    )
    op.create_table(
        "device_uses",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.String(length=16), nullable=False),
        sa.Column("person_id", sa.String(length=16), nullable=True),
        sa.Column("began_at", sa.Double(), nullable=False),
        sa.Column("ended_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(
            ["person_id"],
            ["users.id"],
            name=op.f("fk_device_uses_person_id_users"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_device_uses")),
    )
    with op.batch_alter_table("device_uses", schema=None) as batch_op:
        batch_op.create_index("ix_device_uses_person_ended", ["person_id", "ended_at"])
        batch_op.create_index("ix_device_uses_run", ["run_id"])


def downgrade() -> None:
    op.drop_table("device_uses")
    op.drop_table("queue_limits")
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.drop_index("ix_runs_person_status")
        batch_op.drop_index("ix_runs_queue")
        batch_op.drop_column("device")
        batch_op.drop_column("needs_memory_bytes")
        batch_op.drop_column("needs_kind")
        batch_op.drop_column("turn")
