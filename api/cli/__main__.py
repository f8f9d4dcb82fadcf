"""`python -m api.cli` is `watchnext`."""

from api.cli import main

main()
