"""Benchmarks: run by `watchnext bench NAME`, never as tests. Each prints its figures beside a floor or a peer."""
