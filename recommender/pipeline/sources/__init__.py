"""Sources of candidates. Each scores with arrays and takes its best; none knows the others."""
