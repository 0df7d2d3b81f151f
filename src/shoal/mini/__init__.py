"""The local model, in a process of its own behind a Unix socket, speaking the OpenAI dialect.

Getting it ready: weights.toml names the weights, pull.py fetches and checks them, gguf.py and conversion.py turn them into what an engine
reads without loss, zeropoints.py and residual.py keep its graph true, card.py says what came of it; catalogue.py is what others call.
Running it: engine.py is the contract, openvino.py keeps it, embedding.py is the sentence model, tokens.py the tokenizer, processor.py
knows what a processor must be spared; schema.py,
properties.py, pattern.py, numerals.py, grammar.py and watch.py hold an answer to a JSON schema.
Serving it: serve.py is the process, door.py its endpoints, chat.py, completions.py and vectors.py one each. dialect.py and turns.py check
requests, template.py makes prompts, tools.py and text.py read what the model says, choice.py sees an answer through, answers.py and
streams.py write it down.
"""
