"""Who answers. Policies are pure generators: each yields a Try, is sent its Outcome, and stops or goes on.

order.py asks the deployments in the given order, with retries.
"""
