"""How the trials of a group are run: measured, chosen, and written down for all processes."""
