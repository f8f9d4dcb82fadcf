"""Is it better? Measures of the served list against what viewers did next."""
