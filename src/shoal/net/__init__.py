"""The two ends of a connection, and their limits.

server.py a caller's connection, hosted by uvicorn; head.py what a request's head says; limits.py what a caller may send; exchange.py one
request and its answer; host.py the process that listens, and its drain; client.py pooled connections to an upstream; upstream.py one of
them and the answer on it; dial.py opens them; target.py where an upstream is and how to get there (TLS, proxies, sockets).
"""
