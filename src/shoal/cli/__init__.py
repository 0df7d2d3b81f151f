"""The command line: one verb a file, arguments only; what a verb does lives below.

main.py mounts the verbs; serve.py, keys.py, models.py, pull.py, chat.py, bench.py are the verbs; endpoint.py speaks to a running
server, as chat and bench do; local_key.py keeps the key that this machine's own user chats with.
"""
