"""The last that the process imports which server processes are forked from.

What is there now stays as it is. Looking through it for circles, in every process, would write to it.
"""

import gc

gc.collect()
gc.freeze()
