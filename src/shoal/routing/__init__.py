"""Who answers. Policies are pure: each makes of the candidates a Course (whom to ask, in which order and how), and one walk follows it.

course.py what a policy decides; walk.py retries, failover, second tries and judging, for all of them; strategy.py what policies share.
ordered.py weighted.py balanced.py cheapest.py fastest.py throughput.py least_busy.py put candidates in order; sticky.py conditional.py
context.py hedged.py cascade.py fallback.py preferred.py change what an inner policy decides.
cost.py and draw.py what orders are made from; judgement.py whether a held answer will do; names.py what a model's name says;
preferences.py what a request may ask of routing; routes.py policies from the configuration.
"""
