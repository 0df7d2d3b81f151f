"""Google's generateContent, as AI Studio and Vertex speak it, both sides.

requests.py a conversation to and from a call, built of contents.py and turns.py (who said what), tools.py, generation.py (how the answer is
wanted), thinking.py and schema.py; answers.py and streams.py the answer, whole and streamed, built of shapes.py (the JSON), reading.py
(JSON to deltas), pieces.py (calls that come in pieces), parts.py (parts to JSON), usage.py, citations.py and logprobs.py; errors.py
failures; forward.py Gemini to Gemini; counting.py countTokens; embeddings.py vectors; members.py checked access to a caller's JSON;
signatures.py proofs of thought; families.py what models of a generation can do; dialect.py all of it as the gateway's ports want it.
"""
