"""temporary"""
from shoal.core.health import Health
class HealthBook:
    def __init__(s,clock): pass
    def begin(s,d): pass
    def first_token(s,d,x): pass
    def end(s,d,f,t=None,x=0.0): pass
    def view(s,d,n): return Health()
class HedgeBudget:
    def has_room(s): return False
