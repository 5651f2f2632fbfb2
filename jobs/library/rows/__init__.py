"""What jobs share that work through a table row by row: what is done with a row, whose turn it is, what is kept."""
