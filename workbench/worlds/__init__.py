"""Small invented worlds and their judges, in plain Python and numpy."""
