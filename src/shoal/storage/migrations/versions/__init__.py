"""One module a revision, named after it, in order."""
