"""The request's path.

door.py who asks, and the last word on every fault; endpoints.py the endpoints as data; serve.py the sentence; call.py one request under
way; world.py what all requests share; planning.py whom to ask, abilities.py who can; attempts.py follows a policy's plan, contest.py has
tries beside each other, held.py answers that are judged first, continuation.py goes on after a break; bridge.py and others.py from the
caller's dialect to the upstream's and back; answer.py brings an answer to the caller; counting.py only counts; keeping.py, bodies.py,
cache.py and retention.py what is kept; desk.py and errands.py what another process answers; settle.py and receipt.py the bill; health.py
how deployments do; auth.py keys and strangers; status.py pages that answer from memory, own_key.py one of them.

What keys may do and spend: scopes.py what they are for; limits.py where the path counts and holds, hold.py what one request holds,
bounds.py the most that it can cost; accounts.py what each key has borrowed, purse.py as money and rates.py as units, both of them a
stock.py; charges.py what is charged in the end, reckoning.py what was used where nobody said.
"""
