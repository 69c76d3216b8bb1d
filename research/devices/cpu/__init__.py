"""What a CPU has of its own: how programs are compiled for it, its cores, its memory."""
