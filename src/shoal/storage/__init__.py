"""Keys and the ledger: what must survive.

store.py opens everything; database.py is the connection and its settings; schema.py the tables, upgrade.py and migrations/ how they
came to be; keys.py who may ask; journal.py the file a request is written to before its last byte leaves, fold.py how the journal gets
into the tables exactly once; receipts.py finds one request again; responses.py keeps what callers of the Responses API may continue.
"""
