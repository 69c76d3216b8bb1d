"""Text: tokens to continue, to classify, to translate or to guess."""
