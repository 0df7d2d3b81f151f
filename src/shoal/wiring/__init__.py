"""The composition root: the only package, besides the command line, that names implementations.

installation.py the parent process: what is started, and with what; worker.py one gateway process: what it is made of; reach.py the
upstreams within reach of it; signing.py who proves how to them.
"""
