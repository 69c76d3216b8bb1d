"""What can be said of differences between cells, and how many seeds it takes."""
