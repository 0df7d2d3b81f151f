"""Keys, accounts and the ledger: what must survive, in SQLite or PostgreSQL.

store.py opens everything, one attribute a noun. database.py is the connection and its settings, reach.py what is told while it is away;
schema.py the tables (kept_tables.py, job_tables.py some of them), upgrade.py and migrations/ how they came to be; backup.py a
copy of it all.

- Who: organisations.py, projects.py, members.py, keys.py, key_changes.py, with audit.py for who did what; names.py, versions.py, pages.py.
- Requests: journal.py is the file a request is written to before its last byte leaves, fold.py how it gets into the tables exactly once
  (bulk.py the rows, usage.py the roll-ups, charges.py what they cost); receipts.py, request_log.py, consumption.py and spending.py read
  them; bodies.py, completions.py and responses.py are what is kept of contents, retention.py for how long.
- What callers keep: feedback.py and files.py; jobs.py what is made of them.
- Money: ledger.py is double entry, proof.py its check, statements.py, alerts.py; codes.py, payments.py, grants.py are where it comes from.
- Lending: lender.py is a process's side; leases.py lends money, buckets.py requests and tokens, holders.py knows who lives; windows.py.
- upkeep.py does what is due now and then; credentials.py are keys for providers.
"""
