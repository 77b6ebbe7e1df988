"""Execute notebooks with parameters, keep their results with provenance, render the report."""
