"""The database's history for Alembic: env.py runs what versions/ holds, one file a step, each with its way back."""
