"""One module or folder per paper: its method, its settings, its published table."""
