"""The local model, in a process of its own behind a Unix socket, speaking the OpenAI dialect.

weights.toml names the weights; pull.py fetches and checks them; gguf.py turns them into what the engine reads without loss; engine.py is
the contract every engine keeps, openvino.py and llamacpp.py keep it; embedding.py is the sentence model; template.py turns messages into
tokens; dialect.py checks requests and shapes answers; serve.py is the process.
"""
