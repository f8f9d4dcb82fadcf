"""The last that the process imports which server processes are forked from.

What is there now stays as it is. Looking through it for circles, in every process, would write to it. It ends with the
server; where all processes are told to end at once it must not go before those that still answer.
"""

import gc
import os
import signal

from api.rolling import TEMPLATE_VARIABLE

os.environ[TEMPLATE_VARIABLE] = str(os.getpid())
signal.signal(signal.SIGTERM, signal.SIG_IGN)

gc.collect()
gc.freeze()
