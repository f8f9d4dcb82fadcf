"""Alembic migrations: every change of the tables, in order. Run by `Store.open`."""
