"""The commands of a study."""
