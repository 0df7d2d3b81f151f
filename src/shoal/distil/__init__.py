"""From traffic to a mini: rows are gathered, taught, trained on, quantised, gated and published.

rows.py, student.py and watch.py hold the nouns that all steps share; job.py is the recipe as one sentence.
"""
