"""How many tokens a text or a request has: counted where the tokenizer is known, estimated, and said to be, everywhere else.

count.py the number and how sure it is; counter.py counts texts and conversations; encodings.py OpenAI's vocabularies; local.py those of
the models on this machine; outline.py what of a conversation costs tokens; framing.py what goes around it; estimate.py the formula for
texts; pictures.py and files.py the rules for what is not text; window.py whether a request fits.
"""
