"""What a caller's own project has, under /v1, as OpenAI's SDK asks for it: stored completions, feedback, files and jobs.

`entrance` lets in what a worker hands on, `given` is who asks, `lists` is the shape of lists. One noun a module: `completions`, `feedback`,
`files`, `fine_tuning`. `routes` puts them together.
"""
