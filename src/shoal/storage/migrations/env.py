"""Runs migrations over the connection that `shoal.storage.upgrade` hands in, inside its transaction."""

from alembic import context

from shoal.storage.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
context.run_migrations()
