"""The two ends of a connection, and their limits.

server.py a caller's connection, hosted by uvicorn; exchange.py one request on it and its answer; host.py the process that listens, and
its drain; client.py pooled connections to an upstream; target.py where an upstream is and how to get there (TLS, proxies, sockets).
"""
