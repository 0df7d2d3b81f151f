"""What may go in and out: pii.py finds personal data and secrets by rules; checksums.py tells numbers that are what they look like."""
