#!/usr/bin/env python3
# A runtime behind a script that stays: it waits for the end, and passes on signals.
import os, signal, subprocess, sys

signal.signal(signal.SIGCHLD, signal.SIG_DFL)
PASSED_ON = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT]
signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
child = subprocess.Popen(["LAST"] + [os.fsencode(word) for word in sys.argv[1:]], close_fds=False)
for one in PASSED_ON:
    signal.signal(one, lambda number, frame: child.send_signal(number))
signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
status = child.wait()
sys.exit(status if status >= 0 else 128 - status)
