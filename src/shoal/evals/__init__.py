"""How good an answer is, and what may be said of a model from a sample.

graders.py grades one answer, stats.py says how sure one may be of many, judge.py lets a model compare where nothing exact exists.
"""
