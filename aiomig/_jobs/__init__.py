"""Jobs: submitting, watching, results, sweeps."""
