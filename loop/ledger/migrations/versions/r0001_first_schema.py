"""The first schema: one table per kind of row, and the triggers that keep them append-only."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

KEYS: dict[str, tuple[tuple[str, ...], ...]] = {
    "attempt": (("campaign_id", "calculation_key", "number"),),
    "calculation": (("key",),),
    "campaign": (("id", "revision"),),
    "candidate": (("campaign_id", "id"),),
    "cost": (("campaign_id", "calculation_key", "currency", "kind"),),
    "crystal": (("key",),),
    "decision": (("campaign_id", "iteration", "candidate_id"),),
    "failure": (("campaign_id", "subject", "stage", "iteration"),),
    "hull": (("campaign_id", "version"), ("campaign_id", "fidelity", "number")),
    "lease": (("campaign_id", "token"),),
    "model_version": (("campaign_id", "kind", "name", "iteration"),),
    "reference_phase": (("campaign_id", "reference_version", "name"),),
    "reference_set": (("campaign_id", "version"),),
    "rejection": (("campaign_id", "candidate_id"),),
    "stage": (("campaign_id", "iteration", "name"),),
    "verdict": (("campaign_id", "candidate_id", "fidelity", "number"),),
    "verification": (("campaign_id", "candidate_id", "level"),),
}
"""Every table, with each set of columns that is unique in it."""
FIRST_WRITER_WINS = frozenset({"crystal", "calculation"})
"""Tables whose rows are what their key says: writing one again changes nothing and is no error."""


def upgrade() -> None:
    _create_tables()
    for table in KEYS:
        if op.get_bind().dialect.name == "postgresql":
            _forbid_changes_postgresql(table)
        else:
            _forbid_changes_sqlite(table)


def downgrade() -> None:
    raise NotImplementedError("the ledger is append-only: restore the backup made before the upgrade")


def _create_tables() -> None:
    op.create_table(
        "attempt",
        sa.Column("campaign_id", sa.String(40), nullable=False),
        sa.Column("calculation_key", sa.String(40), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("lease_token", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("campaign_id", "calculation_key", "number", name="pk_attempt"),
    )
    op.create_table(
        "campaign",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("versions", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", "revision", name="pk_campaign"),
    )
    op.create_table(
        "cost",
        sa.Column("campaign_id", sa.String(40), nullable=False),
        sa.Column("calculation_key", sa.String(40), nullable=False),
        sa.Column("currency", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("purpose", sa.String(255), nullable=False),
        sa.Column("iteration", sa.Integer(), nullable=False),
        sa.Column("amount", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("campaign_id", "calculation_key", "currency", "kind", name="pk_cost"),
    )
    op.create_table(
        "crystal",
        sa.Column("key", sa.String(40), nullable=False),
        sa.Column("reduced_formula", sa.String(255), nullable=False),
        sa.Column("chemical_system", sa.String(255), nullable=False),
        sa.Column("number_of_atoms", sa.Integer(), nullable=False),
        sa.Column("space_group_number", sa.Integer(), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_crystal"),
    )
    op.create_index("ix_crystal_chemical_system", "crystal", ["chemical_system"])
    op.create_index("ix_crystal_reduced_formula", "crystal", ["reduced_formula"])
    op.create_table(
        "decision",
        sa.Column("campaign_id", sa.String(40), nullable=False),
        sa.Column("iteration", sa.Integer(), nullable=False),
        sa.Column("candidate_id", sa.String(32), nullable=False),
        sa.Column("role", sa.String(255), nullable=False),
        sa.Column("policy", sa.String(255), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("predicted_mean", sa.Float(), nullable=False),
        sa.Column("predicted_deviation", sa.Float(), nullable=False),
        sa.Column("declared_cost", sa.JSON(), nullable=False),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("campaign_id", "iteration", "candidate_id", name="pk_decision"),
    )
    op.create_table(
        "failure",
        sa.Column("campaign_id", sa.String(40), nullable=False),
        sa.Column("subject", sa.String(255), nullable=False),
        sa.Column("stage", sa.String(255), nullable=False),
        sa.Column("iteration", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(255), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("campaign_id", "subject", "stage", "iteration", name="pk_failure"),
    )
    op.create_table(
        "hull",
        sa.Column("campaign_id", sa.String(40), nullable=False),
        sa.Column("version", sa.String(40), nullable=False),
        sa.Column("fidelity", sa.String(255), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("reference_version", sa.String(255), nullable=False),
        sa.Column("iteration", sa.Integer(), nullable=False),
        sa.Column("finds", sa.JSON(), nullable=False),
        sa.Column("fell_off", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("campaign_id", "version", name="pk_hull"),
        sa.UniqueConstraint("campaign_id", "fidelity", "number", name="uq_hull_campaign_id"),
    )
    op.create_table(
        "lease",
        sa.Column("campaign_id", sa.String(40), nullable=False),
        sa.Column("token", sa.Integer(), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("process_id", sa.Integer(), nullable=False),
        sa.Column("process_started", sa.Float(), nullable=False),
        sa.Column("released", sa.Boolean(), nullable=False),
        sa.Column("acquired_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("campaign_id", "token", name="pk_lease"),
    )
    op.create_table(
        "model_version",
        sa.Column("campaign_id", sa.String(40), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("iteration", sa.Integer(), nullable=False),
        sa.Column("version", sa.String(40), nullable=False),
        sa.Column("parent", sa.String(40), nullable=True),
        sa.Column("trained_on", sa.JSON(), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("promoted", sa.Boolean(), nullable=False),
        sa.Column("state", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("campaign_id", "kind", "name", "iteration", name="pk_model_version"),
    )
    op.create_table(
        "reference_set",
        sa.Column("campaign_id", sa.String(40), nullable=False),
        sa.Column("version", sa.String(40), nullable=False),
        sa.Column("fidelity", sa.String(255), nullable=False),
        sa.Column("source", sa.JSON(), nullable=False),
        sa.Column("number_of_phases", sa.Integer(), nullable=False),
        sa.Column("iteration", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("campaign_id", "version", name="pk_reference_set"),
    )
    op.create_table(
        "rejection",
        sa.Column("campaign_id", sa.String(40), nullable=False),
        sa.Column("candidate_id", sa.String(32), nullable=False),
        sa.Column("iteration", sa.Integer(), nullable=False),
        sa.Column("stage", sa.String(255), nullable=False),
        sa.Column("reason", sa.String(255), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("campaign_id", "candidate_id", name="pk_rejection"),
    )
    op.create_table(
        "stage",
        sa.Column("campaign_id", sa.String(40), nullable=False),
        sa.Column("iteration", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("summary", sa.JSON(), nullable=False),
        sa.Column("finished_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("campaign_id", "iteration", "name", name="pk_stage"),
    )
    op.create_table(
        "calculation",
        sa.Column("key", sa.String(40), nullable=False),
        sa.Column("crystal_key", sa.String(40), nullable=False),
        sa.Column("kind", sa.String(255), nullable=False),
        sa.Column("fidelity", sa.String(255), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("code_version", sa.String(255), nullable=False),
        sa.Column("outcome", sa.String(255), nullable=False),
        sa.Column("energy_per_atom", sa.Float(), nullable=True),
        sa.Column("result_crystal_key", sa.String(40), nullable=True),
        sa.Column("result", sa.JSON(), nullable=False),
        sa.Column("failure_reason", sa.String(255), nullable=True),
        sa.Column("failure_detail", sa.Text(), nullable=True),
        sa.Column("cpu_seconds", sa.Float(), nullable=False),
        sa.Column("settled_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["crystal_key"], ["crystal.key"], name="fk_calculation_crystal_key_crystal"),
        sa.ForeignKeyConstraint(
            ["result_crystal_key"], ["crystal.key"], name="fk_calculation_result_crystal_key_crystal"
        ),
        sa.PrimaryKeyConstraint("key", name="pk_calculation"),
    )
    op.create_index("ix_calculation_crystal_key", "calculation", ["crystal_key"])
    op.create_index("ix_calculation_fidelity", "calculation", ["fidelity"])
    op.create_table(
        "candidate",
        sa.Column("campaign_id", sa.String(40), nullable=False),
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("iteration", sa.Integer(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("generator", sa.String(255), nullable=False),
        sa.Column("generator_version", sa.String(255), nullable=False),
        sa.Column("crystal_key", sa.String(40), nullable=True),
        sa.Column("parents", sa.JSON(), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["crystal_key"], ["crystal.key"], name="fk_candidate_crystal_key_crystal"),
        sa.PrimaryKeyConstraint("campaign_id", "id", name="pk_candidate"),
    )
    op.create_index("ix_candidate_iteration", "candidate", ["iteration"])
    op.create_table(
        "reference_phase",
        sa.Column("campaign_id", sa.String(40), nullable=False),
        sa.Column("reference_version", sa.String(40), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("calculation_key", sa.String(40), nullable=False),
        sa.ForeignKeyConstraint(
            ["calculation_key"], ["calculation.key"], name="fk_reference_phase_calculation_key_calculation"
        ),
        sa.PrimaryKeyConstraint("campaign_id", "reference_version", "name", name="pk_reference_phase"),
    )
    op.create_table(
        "verdict",
        sa.Column("campaign_id", sa.String(40), nullable=False),
        sa.Column("candidate_id", sa.String(32), nullable=False),
        sa.Column("fidelity", sa.String(255), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("hull_version", sa.String(40), nullable=False),
        sa.Column("calculation_key", sa.String(40), nullable=False),
        sa.Column("iteration", sa.Integer(), nullable=False),
        sa.Column("formation_energy", sa.Float(), nullable=False),
        sa.Column("energy_above_hull", sa.Float(), nullable=False),
        sa.Column("distance_to_references", sa.Float(), nullable=False),
        sa.Column("decomposition", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["calculation_key"], ["calculation.key"], name="fk_verdict_calculation_key_calculation"
        ),
        sa.PrimaryKeyConstraint("campaign_id", "candidate_id", "fidelity", "number", name="pk_verdict"),
    )
    op.create_table(
        "verification",
        sa.Column("campaign_id", sa.String(40), nullable=False),
        sa.Column("candidate_id", sa.String(32), nullable=False),
        sa.Column("level", sa.String(255), nullable=False),
        sa.Column("iteration", sa.Integer(), nullable=False),
        sa.Column("calculation_key", sa.String(40), nullable=False),
        sa.Column("outcome", sa.String(255), nullable=False),
        sa.Column("dynamically_stable", sa.Boolean(), nullable=True),
        sa.Column("summary", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["calculation_key"], ["calculation.key"], name="fk_verification_calculation_key_calculation"
        ),
        sa.PrimaryKeyConstraint("campaign_id", "candidate_id", "level", name="pk_verification"),
    )


def _forbid_changes_postgresql(table: str) -> None:
    op.execute(
        """
        CREATE OR REPLACE FUNCTION motherlode_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'the ledger is append-only: % refuses %', TG_TABLE_NAME, TG_OP;
        END $$
        """
    )
    op.execute(
        f"""
        CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}
        FOR EACH STATEMENT EXECUTE FUNCTION motherlode_append_only()
        """
    )


def _forbid_changes_sqlite(table: str) -> None:
    for operation in ("UPDATE", "DELETE"):
        op.execute(
            f"""
            CREATE TRIGGER {table}_refuses_{operation.lower()} BEFORE {operation} ON {table}
            BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: {table} refuses {operation}'); END
            """
        )
    # INSERT OR REPLACE deletes the old row without firing its DELETE trigger, so it is stopped beforehand.
    same = " OR ".join(
        "(" + " AND ".join(f"{column} = NEW.{column}" for column in key) + ")" for key in KEYS[table]
    )
    answer = (
        "RAISE(IGNORE)"
        if table in FIRST_WRITER_WINS
        else f"RAISE(ABORT, '{table} already holds a row of this key')"
    )
    op.execute(
        f"""
        CREATE TRIGGER {table}_refuses_replace BEFORE INSERT ON {table}
        WHEN EXISTS (SELECT 1 FROM {table} WHERE {same})
        BEGIN SELECT {answer}; END
        """  # noqa: S608 - the names are this module's own
    )
