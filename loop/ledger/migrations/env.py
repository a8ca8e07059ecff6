"""What Alembic runs: the migrations on the connection that `loop.ledger.migrate` hands over."""

from alembic import context

from loop.ledger.tables import Row

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Row.metadata, compare_type=True)
with context.begin_transaction():
    context.run_migrations()
