"""Networks over sequences: classifiers, language models, and encoder-decoders."""
