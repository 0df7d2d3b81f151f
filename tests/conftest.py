"""What every test may use: property tests that repeat, and real servers, started once."""

from hypothesis import settings

# the same examples in every run; no deadline, because the machine may be busy with something else
settings.register_profile("shoal", derandomize=True, deadline=None, database=None)
settings.load_profile("shoal")
