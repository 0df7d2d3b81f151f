"""Nouns and ports. Nothing here does I/O, reads a clock or draws a random number.

chat.py the request envelope; conversation.py and answer.py what is asked and answered, whatever the dialect; embedding.py and rerank.py
the other two questions; usage.py and money.py what was used and what it costs; models.py who can answer; attempt.py what was tried;
identity.py who asks, terms.py on which terms, lending.py what a process borrows so that they are kept; errors.py what can go wrong, in
one table; ports.py what the other packages must offer.
"""
