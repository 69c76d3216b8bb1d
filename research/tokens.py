"""Token ids with a meaning of their own, the same in every vocabulary that pairs or labels sequences."""

PADDING = 0
START = 1
"""Begins what a decoder reads; BERT's class token."""
END = 2
"""Ends what a decoder writes; BERT's separator."""
UNKNOWN = 3
MASK = 4
"""Stands where a masked language model has to guess."""

SPECIAL = 5
"""Number of ids above; ordinary tokens begin here."""
