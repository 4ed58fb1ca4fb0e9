"""How each weight format is multiplied: a function for a tile, and how its rows are interleaved."""
