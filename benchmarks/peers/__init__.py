"""Other libraries doing what a benchmark measures; none of them imports this project."""
