"""Plotly figures and tables of one style."""
