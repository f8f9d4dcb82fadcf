"""The tasks of `watchnext bench quality`, one on each data set and protocol."""
