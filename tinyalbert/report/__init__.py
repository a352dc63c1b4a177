"""What a run has learned, as pictures and one HTML page: page.py, figures.py, introspection.py."""
