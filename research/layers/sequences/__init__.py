"""What networks over sequences are made of, and how they write one."""
