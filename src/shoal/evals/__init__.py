"""How good an answer is: graders, and what can be said of a model from a sample."""
