"""The request's path.

door.py which endpoint, who asks, and the last word on every fault; serve.py the sentence; call.py one request under way; attempts.py
follows a policy's plan; answer.py brings an upstream's answer to the caller; settle.py the receipt and the ledger's entry; auth.py keys
in memory and how often strangers may knock; status.py the endpoints that answer from memory.
"""
