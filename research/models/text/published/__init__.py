"""How folders of published language models name their parameters and describe them in config.json: a family a file."""
