"""What the Hub source is made of: the Hub's statements, and a short rein on the client that downloads."""
