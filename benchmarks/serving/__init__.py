"""What benchmarks of a running server share: its floors, and the load that is put on it."""
