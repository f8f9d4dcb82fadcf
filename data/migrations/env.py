"""Alembic's entry: runs the migrations on the engine that `Store` hands over."""

from alembic import context

from data.store.tables import metadata

with context.config.attributes["engine"].connect().execution_options(writes=True) as connection:
    context.configure(
        connection=connection, target_metadata=metadata, render_as_batch=connection.dialect.name == "sqlite"
    )
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()
