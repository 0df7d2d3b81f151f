"""How to reach upstreams.

catalogue.py which deployments a name stands for; channel.py one upstream's connections; minnow.py watches the local model; discovery.py
asks upstreams what they serve; prices.py list prices of well-known models.
"""
