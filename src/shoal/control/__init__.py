"""Accounts, keys and money, for those who look after them: the admin API, served by a process of its own.

Who asks: `gate` (every request, before anything else looks at it), `actor` (who may do what). How it is asked: `request`, `parameters`,
`given`, `amounts`, `terms`, `options`. What there is, one noun a module: `organisations`, `projects`, `members`, `keys`, `wallets`,
`statements`, `codes`, `stripe`, `alerts`, `usage`, `requests`, `students`, `audit`, `books`, `erasure`. `app` puts them together, and
`document` describes them. `callers` are what callers themselves ask for under /v1.
"""
