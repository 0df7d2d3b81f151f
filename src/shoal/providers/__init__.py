"""How to reach upstreams, and what they offer.

row.py a provider as data (rows/*.toml); options.py what the configuration may say of it; registry.py both and the keys together;
credentials.py which key is next, rest.py how long one rests; aws_signing.py and google_auth.py what takes a key's place; quirks.py small
differences from a dialect; prefill.py how to go on from a beginning; channel.py one upstream's connections; discovery.py asks upstreams
what they serve; prices.py price lists; abilities.py what models can (families.toml); offers.py who offers what; configured.py the
configuration's own models; catalogue.py which deployments a name stands for; minnow.py watches the local model.
"""
