"""What can be seen from outside: tally.py counts requests on the path, metrics.py publishes the counts, log.py writes for operators."""
